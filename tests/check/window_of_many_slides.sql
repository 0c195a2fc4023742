/*
name: window_of_many_slides
title: A window of more than 100,000 slides
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '1 second', INTERVAL '2 days')
GROUP BY service
