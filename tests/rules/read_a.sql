/*
name: read_a
title: Slowest response
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/read-a
*/
SELECT service, max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
