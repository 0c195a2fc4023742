/*
name: one_row_of_nothing
title: Slowest response of all services
tier: network
unit: ms
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ value }} ms"
  runbook_url: https://runbooks.example/one-row-of-nothing
*/
SELECT max(duration_ms) AS value,
       bool_and(status_code < 500) AS clean
FROM tumble(requests, event_time, INTERVAL '10 seconds')
