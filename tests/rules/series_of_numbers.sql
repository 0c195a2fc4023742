/*
name: series_of_numbers
title: Requests by status and by slowness
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ status_code }}: {{ value }} requests"
  runbook_url: https://runbooks.example/series-of-numbers
*/
SELECT status_code,
       duration_ms > 100 AS slow,
       count(*) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY status_code, duration_ms > 100
