/*
name: diagnose_by_unknown_column
title: Contributors by a column that is not there
tier: network
unit: count
owner: platform
diagnose: {by: [rout]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
