/*
name: diagnose_field_misspelt
title: A field that is not there
tier: network
unit: count
owner: platform
diagnose: {were: status_code >= 500, by: [route]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
