/*
name: history_column_misspelt
title: A column that is not there
tier: network
unit: count
owner: platform
history:
  usual: expected(valeu)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
