/*
name: silence_is_a_warning
title: Silence warns
tier: network
unit: ms
owner: platform
for: 5m
no_data: {as: warning, after: 20s, expect: services(service)}
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-is-a-warning
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
