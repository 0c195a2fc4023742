/*
name: slide_and_size_swapped
title: A slide that is longer than the window
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '1 minute', INTERVAL '10 seconds')
GROUP BY service
