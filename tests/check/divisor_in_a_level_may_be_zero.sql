/*
name: divisor_in_a_level_may_be_zero
title: A quotient in a predicate
tier: network
unit: ms
owner: platform
levels: {warning: value / failing_ms > 2}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, sum(duration_ms) AS value, sum(duration_ms) FILTER (WHERE status_code >= 500) AS failing_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
