/*
name: late_event
tier: network
owner: platform
levels:
  warning:  value > 100
annotations:
  summary: "{{ service }}"
  runbook_url: https://runbooks.example/late-event
*/
SELECT service,
       count(*) AS value,
       min(duration_ms) AS fastest_ms,
       max(duration_ms) AS slowest_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
