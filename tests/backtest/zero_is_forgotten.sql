/*
name: zero_is_forgotten
tier: network
owner: platform
no_data: {as: zero, forget: 30s}
levels:
  critical: value < 1
annotations:
  summary: "{{ service }}: {{ value | round }} requests"
  runbook_url: https://runbooks.example/zero-is-forgotten
*/
SELECT service,
       count(*) AS value,
       count(*) AS samples,
       sum(duration_ms) AS total_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
