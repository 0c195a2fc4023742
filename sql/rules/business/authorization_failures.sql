/*
name: authorization_failures
title: Requests refused for lack of authorization
tier: business
unit: count
owner: identity
labels: {signal: errors}
history:
  usual: expected(value)
  unusual: deviation(value)
levels:                                 # healthy is neither: as many as at this hour of other weeks
  warning:  abs(unusual) > 4
  critical: value < 0.2 * usual AND usual >= 20
for: {warning: 5m, critical: 1m}
keep_firing_for: 5m
no_data: {as: zero, after: 5m, expect: services(service)}
diagnose: {where: "status_code IN (401, 403)", by: [route, customer_id], top: 5}
annotations:
  summary: "{{ service }}: {{ value | round }} requests refused with 401 or 403 in 5 minutes, {{ usual | round }} are usual"
  description: >-
    Number of refused requests against what is usual at this hour of the week.
    A peak is an attack or an expired secret. A collapse is worse: somebody may have switched the check off.
  runbook_url: https://runbooks.example/authorization-failures
*/
SELECT service,
       count(*) FILTER (WHERE status_code IN (401, 403)) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')
GROUP BY service
