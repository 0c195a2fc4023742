/*
name: failing_again
title: Services that fail again and again
tier: business
unit: ratio
owner: tests
levels:
  warning:  value > 0.02
  critical: again AND value > 0.02
history:
  again: recurs(value > 0.02, 2, 5)
  rise: trend(value, INTERVAL '100 seconds')
for: 0s
no_data: {as: zero, after: 1m}
diagnose: {where: outcome <> 'succeeded', by: [operation], top: 3}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/x
*/
SELECT service, coalesce(ratio(count(*) FILTER (WHERE outcome <> 'succeeded'), count(*)), 0) AS value, count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
