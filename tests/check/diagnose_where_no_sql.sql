/*
name: diagnose_where_no_sql
title: Offending events by no SQL
tier: network
unit: count
owner: platform
diagnose: {where: status_code >=, by: [route]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
