/*
name: history_deviation
title: Deviation from what was learnt elsewhere
tier: network
unit: ms
owner: platform
history:
  usual: expected(value)
  unusual: deviation(value)
levels: {warning: abs(unusual) > 4}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-deviation
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '1 hour')
GROUP BY service
