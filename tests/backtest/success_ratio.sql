/*
name: success_ratio
title: Operations that succeed
tier: business
owner: platform
unit: ratio
labels: {signal: errors}
for: {warning: 20s, critical: 10s}
levels:
  healthy:  value >= 0.9
  warning:  value >= 0.5 AND value < 0.9
  critical: value <  0.5
annotations:
  summary: "{{ service }}: {{ value | percent }} of operations succeed"
  runbook_url: https://runbooks.example/success-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE outcome = 'succeeded'), count(*)) AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
