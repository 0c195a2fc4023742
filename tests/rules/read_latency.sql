/*
name: read_latency
title: Slowest response, to be read by other rules
tier: network
unit: ms
owner: platform
for: 10s
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/read-latency
*/
SELECT service,
       max(duration_ms) FILTER (WHERE status_code < 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
