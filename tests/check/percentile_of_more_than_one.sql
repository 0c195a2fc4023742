/*
name: percentile_of_more_than_one
title: A percentile that is no fraction
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, approx_percentile_cont(duration_ms, 95) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
