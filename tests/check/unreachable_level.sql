/*
name: unreachable_level
tier: network
owner: platform
levels:
  healthy:  value <= 500
  warning:  value > 1200 AND value <= 500
  critical: value > 2000
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/unreachable-level
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
