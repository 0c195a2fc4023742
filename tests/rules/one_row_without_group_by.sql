/*
name: one_row_without_group_by
title: Requests of all services together
tier: network
unit: count
owner: platform
levels: {critical: value = 0}
annotations:
  summary: "{{ value }} requests"
  runbook_url: https://runbooks.example/one-row-without-group-by
*/
SELECT count(*) AS value,
       sum(duration_ms) AS total_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
