/*
name: trouble
title: Readings of two rules that are not healthy
tier: business
unit: count
owner: tests
key: [service]
levels:
  warning:  value > 0 AND value <= 3
  critical: value > 3
for: 0s
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/x
*/
SELECT a.service, a.bad + coalesce(b.bad, 0) AS value, a.readings AS samples
FROM (
    SELECT service, count(*) FILTER (WHERE level <> 'healthy') AS bad, count(*) AS readings
    FROM hop(rule.success_ratio, window_end, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS a
LEFT JOIN (
    SELECT service, count(*) FILTER (WHERE state = 'critical') AS bad
    FROM hop(rule.failing_again, window_end, INTERVAL '10 seconds', INTERVAL '30 seconds')
    GROUP BY service
) AS b ON a.service = b.service
