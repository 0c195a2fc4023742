/*
name: window_constants
title: Requests per second, with the borders of the window
tier: network
unit: per_second
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests per second"
  runbook_url: https://runbooks.example/window-constants
*/
SELECT service,
       count(*) / window_seconds AS value,
       window_start,
       window_end
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service, window_start, window_end
