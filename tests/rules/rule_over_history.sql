/*
name: rule_over_history
title: Errors that came again lately
tier: network
unit: count
owner: platform
levels: {warning: value >= 2}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/rule-over-history
*/
SELECT service,
       count(*) FILTER (WHERE again) AS value,
       count(*) AS readings
FROM hop(rule.history_recurs, window_end, INTERVAL '10 seconds', INTERVAL '30 seconds')
GROUP BY service
