/*
name: history_ago_within_a_window
title: Requests against those a slide ago
tier: network
unit: ms
owner: platform
history:
  before: ago(value, INTERVAL '10 seconds')
levels: {warning: value > 2 * before}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/history-ago-within-a-window
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
