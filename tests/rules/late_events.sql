/*
name: late_events
title: Requests, some of them late
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/late-events
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
GROUP BY service
