/*
name: percentile_within_one_percent
title: Median response time
tier: network
unit: ms
owner: platform
levels: {warning: value > 500}
annotations:
  summary: "{{ service }}: {{ value | round(1) }} ms"
  runbook_url: https://runbooks.example/percentile-within-one-percent
*/
SELECT service,
       approx_percentile_cont(duration_ms, 0.5) AS value,
       approx_percentile_cont(duration_ms, 0.99) AS p99_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
