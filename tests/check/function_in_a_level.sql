/*
name: function_in_a_level
title: A level by chance
tier: network
unit: count
owner: platform
levels: {warning: "value > 100 * random()"}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
