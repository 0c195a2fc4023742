/*
name: history_timezone
title: Hours of the week in local time
tier: network
unit: ms
owner: platform
timezone: Europe/Berlin
history:
  usual: expected(value)
levels: {warning: value > 10 * usual}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-timezone
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '1 hour')
GROUP BY service
