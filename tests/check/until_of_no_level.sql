/*
name: until_of_no_level
title: The end of a level that there is not
tier: network
unit: count
owner: platform
until: {critical: value < 50}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
