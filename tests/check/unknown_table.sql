/*
name: unknown_table
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/unknown-table
*/
SELECT service,
       count(*) AS value
FROM hop(request, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
