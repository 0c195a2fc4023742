/*
name: history_trend
title: Rise of the response time
tier: network
unit: ms
owner: platform
history:
  rise: trend(value, INTERVAL '40 seconds')
levels: {warning: rise > 20}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-trend
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
