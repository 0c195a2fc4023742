/*
name: business_domain_failure_ratio
title: Business operations refused by the domain
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
min_samples: 50                         # one failure alone is never critical
levels:
  healthy:  value <  0.005
  warning:  value >= 0.005 AND value <= 0.02
  critical: value >  0.02
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m}
diagnose: {where: error_type = 'domain', by: [operation, customer_id], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of operations fail by a rule of the domain"
  description: >-
    Share of business operations that a rule of the domain refused.
    A rise often follows a change of prices, stock or policy rather than a fault in the code.
  runbook_url: https://runbooks.example/business-domain-failure-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE error_type = 'domain'), count(*)) AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
