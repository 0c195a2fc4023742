/*
name: tumbling_window
title: Requests in windows that do not overlap
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/tumbling-window
*/
SELECT service,
       count(*) AS value
FROM tumble(requests, event_time, INTERVAL '30 seconds')
GROUP BY service
