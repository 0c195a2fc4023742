/*
name: unknown_field
tier: network
owner: platform
keep_fireing_for: 5m
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/unknown-field
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
