/*
name: silence_breaks_a_run
tier: network
owner: platform
for: 30s
levels:
  warning:  value >= 1
annotations:
  summary: "{{ service }}: {{ value | round }} errors"
  runbook_url: https://runbooks.example/silence-breaks-a-run
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
