/*
name: for_names_no_level
tier: network
owner: platform
for: {warnig: 5m}
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/for-names-no-level
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
