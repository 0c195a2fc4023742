/*
name: levels_are_no_intervals
title: Levels of two columns
tier: network
unit: ms
owner: platform
levels: {healthy: value <= 500, warning: value > 500 AND requests > 10}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(duration_ms) AS value, count(*) AS requests
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
