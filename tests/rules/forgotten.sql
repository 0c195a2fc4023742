/*
name: forgotten
title: Series that end
tier: network
unit: ms
owner: platform
no_data: {as: hold, after: 20s, forget: 40s, expect: services(service)}
levels:
  healthy:  value <= 100
  critical: value >  200
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/forgotten
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
