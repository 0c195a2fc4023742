/*
name: history_name_taken
title: A history of a name that a column has
tier: network
unit: count
owner: platform
history:
  value: ago(value, INTERVAL '1 minute')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
