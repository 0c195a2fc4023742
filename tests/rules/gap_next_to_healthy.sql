/*
name: gap_next_to_healthy
title: A gap between healthy and warning
tier: network
unit: ms
owner: platform
levels:
  healthy:  value <= 100
  warning:  value >  500 AND value <= 1000
  critical: value >  1000
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/gap-next-to-healthy
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
