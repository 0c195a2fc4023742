/*
name: three_rules_high
title: A rule over a rule over a rule
tier: network
unit: count
owner: platform
levels: {warning: value >= 2}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/three-rules-high
*/
SELECT service,
       max(value) AS value,
       count(*) AS readings
FROM hop(rule.rule_over_rule, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
