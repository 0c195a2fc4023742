/*
name: divisor_is_counted
title: A sum divided by a count that may be nothing
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, sum(duration_ms) / count(customer_id) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
