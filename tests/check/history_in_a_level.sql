/*
name: history_in_a_level
title: A level that looks back by itself
tier: network
unit: count
owner: platform
levels: {warning: value > 2 * expected(value)}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
