/*
name: no_levels
title: A rule that can never fire
tier: network
unit: count
owner: platform
levels: {healthy: value <= 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
