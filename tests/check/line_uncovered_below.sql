/*
name: line_uncovered_below
title: Small values that no level covers
tier: network
unit: count
owner: platform
levels: {healthy: value >= 10, warning: value >= 5 AND value < 10}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
