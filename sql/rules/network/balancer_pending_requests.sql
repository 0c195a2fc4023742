/*
name: balancer_pending_requests
title: Requests that wait in the load balancer
tier: network
unit: count
owner: platform
labels: {signal: saturation}
min_samples: 3
history:
  climbing: growing(value, INTERVAL '10 minutes', 5)
levels:                                 # between 5 and 50 the present level holds
  healthy:  value <= 5
  warning:  value > 50
  critical: climbing AND value > 50
until: {warning: value <= 5}
for: {warning: 5m, critical: 0s}        # a queue that grows does not wait
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
annotations:
  summary: "{{ balancer }}: {{ value | round }} requests wait for {{ service or 'a backend' }}"
  description: >-
    Average length of the queue over the window, at most {{ longest }} requests.
    A long queue that stays as it is slows every request; one that grows will not drain by itself.
  runbook_url: https://runbooks.example/balancer-pending-requests
*/
SELECT service,
       balancer,
       avg(pending) AS value,
       count(*) AS samples,
       max(pending) AS longest
FROM hop(balancer_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service, balancer
