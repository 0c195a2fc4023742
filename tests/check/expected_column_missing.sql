/*
name: expected_column_missing
title: Series by a column that the table has not
tier: network
unit: count
owner: platform
no_data: {expect: services(route)}
levels: {warning: value > 100}
annotations: {summary: "{{ route }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT route, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY route
