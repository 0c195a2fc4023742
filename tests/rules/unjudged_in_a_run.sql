/*
name: unjudged_in_a_run
title: Thin traffic within a run
tier: network
unit: ms
owner: platform
min_samples: 2
for: 20s
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/unjudged-in-a-run
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
