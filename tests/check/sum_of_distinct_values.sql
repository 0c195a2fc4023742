/*
name: sum_of_distinct_values
title: A sum of distinct values of events
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, sum(DISTINCT duration_ms) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
