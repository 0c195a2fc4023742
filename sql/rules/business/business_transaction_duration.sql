/*
name: business_transaction_duration
title: Duration of business transactions, 95th percentile
tier: business
unit: s
owner: business-operations
labels: {signal: latency}
min_samples: 20                         # fewer have no 95th percentile
levels:
  healthy:  value <= 2
  warning:  value >  2 AND value <= 5
  critical: value >  5
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
diagnose: {where: duration_ms > 2000, by: [operation, service_version], top: 5}
annotations:
  summary: "{{ service }}: 95% of business transactions end within {{ value | round(1) }} s"
  description: >-
    Time from start to end that 95% of the business operations keep, failed ones included.
    Operations that report no duration are left out.
  runbook_url: https://runbooks.example/business-transaction-duration
*/
SELECT service,
       approx_percentile_cont(duration_ms, 0.95) / 1000.0 AS value,
       count(duration_ms) AS samples,
       max(duration_ms) / 1000.0 AS slowest_s
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
