/*
name: gap_holds_in_both_directions
title: A gap between warning and critical
tier: network
unit: ms
owner: platform
levels:
  healthy:  value <= 500
  warning:  value >  500 AND value <= 1200
  critical: value >  2000
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/gap-holds-in-both-directions
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
