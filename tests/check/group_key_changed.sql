/*
name: group_key_changed
title: A series by another name
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT upper(service) AS shop, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
