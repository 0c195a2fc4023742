/*
name: read_of_long_windows
title: Slowest response of half a minute, to be read by another rule
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/read-of-long-windows
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '30 seconds')
GROUP BY service
