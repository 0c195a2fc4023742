/*
name: exact_sums
tier: network
owner: platform
levels:
  warning:  value < 0
annotations:
  summary: "{{ service }}"
  runbook_url: https://runbooks.example/exact-sums
*/
SELECT service,
       sum(duration_ms) AS value,
       count(DISTINCT duration_ms) AS different
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
