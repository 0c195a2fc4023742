/*
name: latency_p99
title: Latency
tier: network
unit: ms
owner: tests
levels:
  healthy:  value <= 300
  warning:  value > 300 AND value <= 600
  critical: value > 900
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, approx_percentile_cont(duration_ms, 0.99) AS value, count(duration_ms) AS samples,
       avg(duration_ms) AS average_ms, min(duration_ms) AS least_ms, max(duration_ms) AS most_ms
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
WHERE status_code < 500
GROUP BY service
