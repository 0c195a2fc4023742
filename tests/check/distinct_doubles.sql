/*
name: distinct_doubles
title: Different durations
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, approx_distinct(duration_ms) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
