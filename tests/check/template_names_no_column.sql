/*
name: template_names_no_column
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ sevice }}: {{ value }} requests"
  runbook_url: https://runbooks.example/template-names-no-column
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
