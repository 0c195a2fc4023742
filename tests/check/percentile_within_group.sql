/*
name: percentile_within_group
title: A percentile as standard SQL writes it
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ms) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
