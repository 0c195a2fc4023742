/*
name: labels_and_measures
title: Slowest response, and what came with it
tier: network
unit: ms
owner: platform
labels: {signal: latency}
levels: {warning: value > 500}
annotations:
  summary: "{{ service }}: {{ route }}"
  runbook_url: https://runbooks.example/labels-and-measures
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) AS samples,
       sum(duration_ms) AS total_ms,
       bool_or(status_code >= 500) AS failing,
       bool_and(status_code < 500) AS clean,
       max_by(route, duration_ms) AS route,
       max(event_time) AS seen,
       ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS failure
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
