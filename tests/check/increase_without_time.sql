/*
name: increase_without_time
title: The rise of a counter without its time
tier: data
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ queue }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT queue, increase(depth) AS value
FROM hop(queue_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY queue
