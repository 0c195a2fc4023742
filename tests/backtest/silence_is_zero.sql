/*
name: silence_is_zero
tier: network
owner: platform
no_data: {as: zero}
levels:
  critical: value < 1
annotations:
  summary: "{{ service }}: {{ value | round }} requests"
  runbook_url: https://runbooks.example/silence-is-zero
*/
SELECT service,
       count(*) AS value,
       count(*) AS samples,
       sum(duration_ms) AS total_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
