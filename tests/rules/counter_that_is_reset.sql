/*
name: counter_that_is_reset
title: Rise of a counter
tier: data
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ queue }}: {{ value }}"
  runbook_url: https://runbooks.example/counter-that-is-reset
*/
SELECT queue,
       increase(depth, event_time) AS value
FROM hop(queue_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY queue
