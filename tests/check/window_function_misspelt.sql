/*
name: window_function_misspelt
title: A window that is misspelt
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hopp(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
