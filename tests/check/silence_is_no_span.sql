/*
name: silence_is_no_span
title: A silence of no length
tier: network
unit: count
owner: platform
no_data: {as: hold, after: long}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
