/*
name: silence_breaks_a_run
title: Silence within a run
tier: network
unit: ms
owner: platform
for: 30s
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-breaks-a-run
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
