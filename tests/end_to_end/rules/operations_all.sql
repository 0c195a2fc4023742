/*
name: operations_all
title: Operations of everybody, in one row
tier: business
unit: count
owner: tests
levels: {warning: value > 1000000}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT count(*) AS value, count(DISTINCT customer_id) AS customers, sum(duration_ms) AS total_ms, avg(duration_ms) AS average_ms
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '25 seconds')
