/*
name: group_key_not_shown
title: A series without a name
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
