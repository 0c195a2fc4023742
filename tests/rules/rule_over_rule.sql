/*
name: rule_over_rule
title: Slow readings in a row
tier: network
unit: count
owner: platform
levels: {warning: value >= 2}
annotations:
  summary: "{{ service }}: {{ value }} slow readings"
  runbook_url: https://runbooks.example/rule-over-rule
*/
SELECT service,
       count(*) FILTER (WHERE level = 'warning') AS value,
       count(*) AS readings,
       count(level) AS judged,
       bool_or(state <> 'healthy') AS breached,
       max(value) AS slowest_ms
FROM hop(rule.read_latency, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
