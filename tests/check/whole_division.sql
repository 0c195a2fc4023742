/*
name: whole_division
title: A share that is always 0 or 1
tier: network
unit: ratio
owner: platform
levels: {warning: value > 0.1}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) FILTER (WHERE status_code >= 500) / count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
