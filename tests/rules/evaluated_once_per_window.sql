/*
name: evaluated_once_per_window
title: Requests in windows that overlap
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/evaluated-once-per-window
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
