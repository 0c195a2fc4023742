/*
name: gap_holds
tier: network
owner: platform
unit: ms
levels:
  healthy:  value <= 500
  warning:  value > 500 AND value <= 1200
  critical: value > 2000
annotations:
  summary: "{{ service }}: {{ value | round(1) }} ms, was {{ previous_level }}, now {{ level }}"
  runbook_url: https://runbooks.example/gap-holds
*/
SELECT service,
       avg(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
