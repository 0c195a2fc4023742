/*
name: for_of_each_level
title: A warning waits five minutes, critical one
tier: network
unit: ms
owner: platform
for: {warning: 5m, critical: 1m}
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/for-of-each-level
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
