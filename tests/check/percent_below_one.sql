/*
name: percent_below_one
title: A percentage with the limit of a ratio
tier: network
unit: percent
owner: platform
levels: {warning: value < 0.995}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, 100 * ratio(count(*) FILTER (WHERE status_code < 500), count(*)) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
