/*
name: business_success_ratio
title: Business operations that succeed
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
min_samples: 20
levels:
  healthy:  value >= 0.9950
  warning:  value >= 0.98 AND value < 0.9950
  critical: value <  0.98
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: outcome <> 'succeeded', by: [operation, error_type], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of operations succeed"
  description: >-
    Share of business operations that ended as the business wants them to.
    Every kind of failure counts against it, domain failures too.
  runbook_url: https://runbooks.example/business-success-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE outcome = 'succeeded'), count(*)) AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
