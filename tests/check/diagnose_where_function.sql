/*
name: diagnose_where_function
title: Offending events by chance
tier: network
unit: count
owner: platform
diagnose: {where: "random() < 0.5", by: [route]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
