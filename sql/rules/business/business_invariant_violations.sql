/*
name: business_invariant_violations
title: Violations of business invariants
tier: business
unit: count
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
no_data: {as: zero, after: 5m}          # no operations, no violations
diagnose: {where: error_type = 'invariant', by: [operation, customer_id], top: 5}
annotations:
  summary: "{{ service }}: {{ value | round(0) }} violations of business invariants"
  description: >-
    Operations that would have left the business in a state that must never be, such as stock below zero.
    One is a case to be looked at by hand; critical means that they come again and again within an hour.
  runbook_url: https://runbooks.example/business-invariant-violations
*/
SELECT service,
       count(*) FILTER (WHERE error_type = 'invariant') AS value,
       count(*) AS samples
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
