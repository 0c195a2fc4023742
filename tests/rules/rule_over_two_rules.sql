/*
name: rule_over_two_rules
title: Slow services whose operations fail
tier: business
unit: count
owner: platform
key: [service]
levels: {critical: value > 0}
annotations:
  summary: "{{ service }}: slow, and {{ failed }} operations failed"
  runbook_url: https://runbooks.example/rule-over-two-rules
*/
SELECT service,
       CASE WHEN latency.slow AND failures.failing THEN 1 ELSE 0 END AS value,
       failures.failed
FROM (
    SELECT service, bool_or(level <> 'healthy') AS slow
    FROM hop(rule.read_latency, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS latency
JOIN (
    SELECT service, bool_or(state = 'critical') AS failing, sum(value) AS failed
    FROM hop(rule.read_failures, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS failures USING (service)
