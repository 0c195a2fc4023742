/*
name: level_of_a_label
title: Slow requests, worse where customers pay
tier: network
unit: ms
owner: platform
levels:
  warning:  value > 100
  critical: value > 100 AND route = '/pay'
annotations:
  summary: "{{ service }}: {{ route }} takes {{ value }} ms"
  runbook_url: https://runbooks.example/level-of-a-label
*/
SELECT service,
       max(duration_ms) AS value,
       max_by(route, duration_ms) AS route
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
