/*
name: expected_table_unknown
title: Series of a table that is not there
tier: network
unit: count
owner: platform
no_data: {expect: servces(service)}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
