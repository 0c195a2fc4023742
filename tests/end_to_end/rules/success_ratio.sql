/*
name: success_ratio
title: Successful operations
tier: business
unit: ratio
owner: tests
min_samples: 20
levels:
  healthy:  value >= 0.97
  warning:  value < 0.97
  critical: value < 0.80
for: {warning: 20s, critical: 10s}
annotations:
  summary: "{{ service }}: {{ value | percent }}"
  runbook_url: https://runbooks.example/x
*/
SELECT service, ratio(count(*) FILTER (WHERE outcome = 'succeeded'), count(*)) AS value, count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
