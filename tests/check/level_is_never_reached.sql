/*
name: level_is_never_reached
title: A warning that critical always covers
tier: network
unit: count
owner: platform
levels: {warning: value > 10, critical: value > 5}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
