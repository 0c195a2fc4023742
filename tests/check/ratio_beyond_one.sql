/*
name: ratio_beyond_one
title: A ratio with the limit of a percentage
tier: network
unit: ratio
owner: platform
levels: {warning: value < 99.5}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, ratio(count(*) FILTER (WHERE status_code < 500), count(*)) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
