/*
name: recovery_keeps_firing
title: Recovery waits 20 seconds
tier: network
unit: ms
owner: platform
keep_firing_for: 20s
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/recovery-keeps-firing
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
