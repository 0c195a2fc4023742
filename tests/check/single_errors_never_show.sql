/*
name: single_errors_never_show
tier: network
owner: platform
for: 5m
levels: {warning: value > 0}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/single-errors-never-show
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
