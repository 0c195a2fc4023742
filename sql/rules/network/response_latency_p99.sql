/*
name: response_latency_p99
title: Response time, 99th percentile
tier: network
unit: ms
owner: platform
labels: {signal: latency}
min_samples: 100                        # fewer have no 99th percentile
levels:                                 # between 1300 and 5000 the present level holds
  healthy:  value <= 1200
  warning:  value >  1200 AND value <= 1300
  critical: value >  5000
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: duration_ms > 1200, by: [route, method], top: 5}
annotations:
  summary: "{{ service }}: 99% of requests are answered within {{ value | round(1) }} ms"
  description: >-
    Response time that 99% of the requests keep, as the service measures it.
    The window is longer than that of the 95th percentile, since one request in a hundred decides.
  runbook_url: https://runbooks.example/response-latency-p99
*/
SELECT service,
       approx_percentile_cont(duration_ms, 0.99) AS value,
       count(*) AS samples,
       max(duration_ms) AS slowest_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
