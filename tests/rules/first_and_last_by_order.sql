/*
name: first_and_last_by_order
title: Versions of the slowest and of the fastest request
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ slowest }} is slowest"
  runbook_url: https://runbooks.example/first-and-last-by-order
*/
SELECT service,
       count(*) AS value,
       max_by(service_version, duration_ms) AS slowest,
       min_by(service_version, duration_ms) AS fastest,
       max_by(service_version, event_time) AS latest
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
