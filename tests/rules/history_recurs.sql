/*
name: history_recurs
title: Errors that come again
tier: network
unit: ms
owner: platform
history:
  again: recurs(value > 0, 2, 3)
levels:
  warning:  value > 0
  critical: again
annotations:
  summary: "{{ service }}: {{ value }} errors"
  runbook_url: https://runbooks.example/history-recurs
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
GROUP BY service
