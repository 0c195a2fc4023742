/*
name: response_latency_p95
title: Response time, 95th percentile
tier: network
unit: ms
owner: platform
labels: {signal: latency}
min_samples: 20                         # fewer have no 95th percentile
levels:                                 # between 1200 and 2000 the present level holds
  healthy:  value <= 500
  warning:  value >  500 AND value <= 1200
  critical: value > 2000
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: duration_ms > 500, by: [route, method], top: 5}
annotations:
  summary: "{{ service }}: 95% of requests are answered within {{ value | round(1) }} ms"
  description: >-
    Response time that 95% of the requests keep, as the service measures it.
    Time spent in the network on the way to the client is not in it.
  runbook_url: https://runbooks.example/response-latency-p95
*/
SELECT service,
       approx_percentile_cont(duration_ms, 0.95) AS value,
       count(*) AS samples,
       max(duration_ms) AS slowest_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
