/*
name: rejected_events
title: Requests, some of them broken
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/rejected-events
*/
SELECT service,
       count(*) AS value,
       max(duration_ms) AS slowest_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
