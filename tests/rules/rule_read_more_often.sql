/*
name: rule_read_more_often
title: Readings of a rule that is evaluated less often
tier: network
unit: count
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }} readings"
  runbook_url: https://runbooks.example/rule-read-more-often
*/
SELECT service,
       count(*) AS value,
       max(value) AS slowest_ms
FROM hop(rule.read_of_long_windows, window_end, INTERVAL '10 seconds', INTERVAL '40 seconds')
GROUP BY service
