/*
name: rule_read_by_event_time
title: Readings by a time that they have not
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) FILTER (WHERE level = 'critical') AS value
FROM hop(rule.http_5xx_ratio, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
