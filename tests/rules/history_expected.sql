/*
name: history_expected
title: Response time against the usual one
tier: network
unit: ms
owner: platform
history:
  usual: expected(value)
  unusual: deviation(value)
levels: {warning: abs(unusual) > 4}
annotations:
  summary: "{{ service }}: {{ value | round }} ms, {{ usual | round }} are usual"
  runbook_url: https://runbooks.example/history-expected
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '1 hour')
GROUP BY service
