/*
name: gap_between_far_levels
title: A gap between critical and healthy, from a warning
tier: network
unit: ms
owner: platform
levels:                                 # between 100 and 500 the present level holds
  healthy:  value > 500 AND value <= 800
  warning:  value > 800
  critical: value < 100
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/gap-between-far-levels
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
