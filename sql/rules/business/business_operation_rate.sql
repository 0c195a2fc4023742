/*
name: business_operation_rate
title: Business operations per second
tier: business
unit: per_second
owner: business-operations
labels: {signal: traffic}
history:                                # both of whole operations: small rates would drown in rounding
  usual: expected(operations)
  unusual: deviation(operations)
levels:                                 # healthy is neither: as many as at this hour of other weeks
  warning:  abs(unusual) > 4
  critical: operations < 0.2 * usual AND usual >= 20
for: {warning: 5m, critical: 1m}
keep_firing_for: 5m
no_data: {as: zero, after: 5m, expect: services(service)}
diagnose: {by: [operation, customer_id], top: 5}
annotations:
  summary: "{{ service }}: {{ operations }} business operations in 5 minutes, {{ usual | round }} are usual"
  description: >-
    Number of business operations against what is usual at this hour of the week, both for a drop and for a peak.
    Critical is a collapse to less than a fifth; where fewer than 20 are usual, none at all is no news.
  runbook_url: https://runbooks.example/business-operation-rate
*/
SELECT service,
       count(*) / window_seconds AS value,
       count(*) AS samples,
       count(*) AS operations
FROM hop(business_operations, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')
GROUP BY service
