/*
name: level_of_readings_misspelt
title: A level that readings never have
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) FILTER (WHERE level = 'critcal') AS value
FROM hop(rule.http_5xx_ratio, window_end, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
