/*
name: expected_by_other_columns
title: Series that have more columns
tier: network
unit: count
owner: platform
no_data: {expect: services(service)}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, method, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service, method
