/*
name: column_of_readings_misspelt
title: A column that readings have not
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(valeu) AS value
FROM hop(rule.http_5xx_ratio, window_end, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
