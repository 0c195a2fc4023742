/*
name: window_end_in_a_fold
title: The end of readings within a fold
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(window_end) AS latest, count(*) AS value
FROM hop(rule.http_5xx_ratio, window_end, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
