/*
name: has_some_of_its_own
title: A rule whose own fields win over those of its folder
tier: network
unit: ms
owner: search
labels: {signal: traffic}
for: 0s
no_data: {as: hold}
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/has-some-of-its-own
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
