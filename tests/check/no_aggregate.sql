/*
name: no_aggregate
title: Events as they are
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, duration_ms AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
