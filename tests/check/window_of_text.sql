/*
name: window_of_text
title: A span without INTERVAL
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, '10 seconds', '1 minute')
GROUP BY service
