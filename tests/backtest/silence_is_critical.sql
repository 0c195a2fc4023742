/*
name: silence_is_critical
tier: network
owner: platform
for: 1m
no_data: {as: critical, after: 30s}
levels:
  warning:  value >= 1
annotations:
  summary: "{{ service }}: {{ value | round }} errors"
  runbook_url: https://runbooks.example/silence-is-critical
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
