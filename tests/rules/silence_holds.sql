/*
name: silence_holds
title: Silence changes nothing
tier: network
unit: ms
owner: platform
no_data: {as: hold, after: 20s, expect: services(service)}
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-holds
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
