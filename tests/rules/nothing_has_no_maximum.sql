/*
name: nothing_has_no_maximum
title: Slowest and fastest response, also of silence
tier: network
unit: ms
owner: platform
no_data: {as: zero}
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/nothing-has-no-maximum
*/
SELECT service,
       max(duration_ms) AS value,
       min(status_code) AS status,
       max(event_time) AS seen,
       bool_or(status_code >= 500) AS failing
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
