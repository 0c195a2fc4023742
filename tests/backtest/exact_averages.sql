/*
name: exact_averages
tier: network
owner: platform
levels:
  warning:  value < 0
annotations:
  summary: "{{ service }}"
  runbook_url: https://runbooks.example/exact-averages
*/
SELECT service,
       avg(duration_ms) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
