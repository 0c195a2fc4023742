/*
name: invalid_state_ratio
title: Business operations in an invalid state
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
min_samples: 100                        # one failure alone is never critical
levels:
  healthy:  value <  0.001
  warning:  value >= 0.001 AND value <= 0.01
  critical: value >  0.01
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m}
diagnose: {where: error_type = 'invalid_state', by: [operation, service_version], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of operations meet an invalid state"
  description: >-
    Share of business operations that failed because what they act on was not in a state that allows them.
    A rise points to steps that overtake each other, or to a caller that acts on an old view.
  runbook_url: https://runbooks.example/invalid-state-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE error_type = 'invalid_state'), count(*)) AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
