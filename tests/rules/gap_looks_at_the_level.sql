/*
name: gap_looks_at_the_level
title: A gap while the state still waits
tier: network
unit: ms
owner: platform
for: 20s
levels:
  healthy:  value <= 500
  warning:  value >  500 AND value <= 1200
  critical: value >  2000
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/gap-looks-at-the-level
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
