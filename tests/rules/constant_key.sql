/*
name: constant_key
title: Requests by a constant
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ value }}"
  runbook_url: https://runbooks.example/constant-key
*/
SELECT count(*) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY NULL
