/*
name: for_zero_of_warning
title: A warning at once, critical after a while
tier: network
unit: ms
owner: platform
for: {critical: 20s}
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/for-zero-of-warning
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
