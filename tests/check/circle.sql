/*
name: circle
title: A rule that reads itself
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(value) AS value
FROM hop(rule.circle, window_end, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
