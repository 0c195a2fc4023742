/*
name: business_success_burn_rate
title: Burn rate of the business error budget
tier: business
unit: x
owner: business-operations
labels: {signal: errors}
key: [service]
min_samples: 50
levels:
  healthy:  value <= 6
  warning:  value >  6 AND value <= 14.4
  critical: value > 14.4
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m}
diagnose: {where: outcome = 'failed', by: [operation, error_type], top: 5}
annotations:
  summary: "{{ service }}: the error budget burns at {{ value | round(1) }} times the allowed rate"
  description: >-
    Failure ratio against the error budget of 0.5%, over 5 minutes and over 1 hour; the lesser counts.
    The hour keeps short bursts quiet, the 5 minutes end the alert soon after the failures do.
  runbook_url: https://runbooks.example/business-success-burn-rate
*/
SELECT service,
       least(recent.failure_ratio, hourly.failure_ratio) / 0.005 AS value,
       recent.operations AS samples,
       recent.failure_ratio AS failure_ratio_5m,
       hourly.failure_ratio AS failure_ratio_1h
FROM (
    SELECT service,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failure_ratio,
           count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
    GROUP BY service
) AS recent
JOIN (
    SELECT service,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failure_ratio
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 hour')
    GROUP BY service
) AS hourly USING (service)
