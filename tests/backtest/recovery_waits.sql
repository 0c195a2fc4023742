/*
name: recovery_waits
tier: network
owner: platform
for: 30s
keep_firing_for: 20s
levels:
  warning:  value >= 1
  critical: value >= 3
annotations:
  summary: "{{ service }}: {{ value | round }} errors"
  runbook_url: https://runbooks.example/recovery-waits
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
