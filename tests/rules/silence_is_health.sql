/*
name: silence_is_health
title: Silence resolves
tier: network
unit: ms
owner: platform
no_data: {as: healthy, after: 20s}
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-is-health
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
