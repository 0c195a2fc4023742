/*
name: silence_is_zero
title: Services that answer nothing
tier: network
unit: count
owner: platform
for: 20s
no_data: {as: zero, after: 20s, expect: services(service)}
levels: {critical: value = 0}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-is-zero
*/
SELECT service,
       count(*) AS value,
       sum(duration_ms) AS total_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
