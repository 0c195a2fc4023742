/*
name: mixed_times
tier: network
owner: platform
levels:
  warning:  value > 4
annotations:
  summary: "{{ service }}: {{ value | round }} requests"
  runbook_url: https://runbooks.example/mixed-times
*/
SELECT service,
       count(*) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
