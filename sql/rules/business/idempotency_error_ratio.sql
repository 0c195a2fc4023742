/*
name: idempotency_error_ratio
title: Business operations that break idempotency
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
history:
  regular: recurs(value > 0, 3, 12)     # in 3 or more of the 12 windows of the last hour
levels:
  healthy:  value = 0
  warning:  value > 0
  critical: regular
until: {critical: NOT regular}
for: 0s                                 # the first one counts
keep_firing_for: 5m
no_data: {as: zero, after: 5m}          # no operations, no errors
diagnose: {where: error_type = 'idempotency', by: [operation, customer_id], top: 5}
annotations:
  summary: "{{ service }}: {{ errors }} of {{ samples }} operations broke idempotency"
  description: >-
    Share of business operations that were repeated with another result, or done twice.
    One is a case to be looked at by hand; critical means that they come again and again within an hour.
  runbook_url: https://runbooks.example/idempotency-error-ratio
*/
SELECT service,
       coalesce(ratio(count(*) FILTER (WHERE error_type = 'idempotency'), count(*)), 0) AS value,
       count(*) AS samples,
       count(*) FILTER (WHERE error_type = 'idempotency') AS errors
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
