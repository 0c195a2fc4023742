/*
name: history_growing
title: Response time that rises
tier: network
unit: ms
owner: platform
history:
  climbing: growing(value, INTERVAL '40 seconds')
  steeply: growing(value, INTERVAL '40 seconds', 40)
levels:
  warning:  climbing
  critical: steeply
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-growing
*/
SELECT service,
       max(duration_ms) FILTER (WHERE status_code < 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
