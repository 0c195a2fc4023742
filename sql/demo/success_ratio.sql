/*
name: demo_success_ratio
title: Successful business operations
tier: business
unit: ratio
owner: payments
min_samples: 200
levels:
  healthy:  value >= 0.9925
  warning:  value < 0.9925
  critical: value < 0.93
for: 2s
keep_firing_for: 2s
diagnose: {where: outcome <> 'succeeded', by: [operation], top: 1}
annotations:
  summary: "{{ service }}: {{ value | percent }} of operations succeed"
  runbook_url: https://runbooks.example/business-success
*/
SELECT service,
       ratio(count(*) FILTER (WHERE outcome = 'succeeded'), count(*)) AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '1 second', INTERVAL '10 seconds')
GROUP BY service
