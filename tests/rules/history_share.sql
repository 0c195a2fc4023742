/*
name: history_share
title: Share of slow windows
tier: network
unit: ms
owner: platform
history:
  slow: share(value > 100, INTERVAL '30 seconds')
levels: {warning: slow > 0.5}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-share
*/
SELECT service,
       max(duration_ms) FILTER (WHERE status_code < 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
