/*
name: whole_division_in_a_level
title: A share in a predicate
tier: network
unit: count
owner: platform
levels: {warning: errors / samples > 0.1}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value, count(*) FILTER (WHERE status_code >= 500) AS errors, count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
