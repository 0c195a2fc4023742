/*
name: product_overflows
title: A product of two great whole numbers
tier: data
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ queue }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT queue, max(depth) * sum(depth) AS value
FROM hop(queue_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY queue
