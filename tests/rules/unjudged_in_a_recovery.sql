/*
name: unjudged_in_a_recovery
title: Thin traffic while a breach waits to resolve
tier: network
unit: ms
owner: platform
min_samples: 2
keep_firing_for: 20s
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/unjudged-in-a-recovery
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
