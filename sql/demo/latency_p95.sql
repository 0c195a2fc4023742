/*
name: demo_latency_p95
title: Response time of 95% of requests
tier: network
unit: ms
owner: shop
min_samples: 50
levels:
  healthy:  value <= 500
  warning:  value > 500 AND value <= 1200
  critical: value > 2000
for: {warning: 2s, critical: 1s}
annotations:
  summary: "{{ service }}: 95% of requests take up to {{ value | round(0) }} ms"
  runbook_url: https://runbooks.example/latency
*/
SELECT service,
       approx_percentile_cont(duration_ms, 0.95) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '1 second', INTERVAL '10 seconds')
GROUP BY service
