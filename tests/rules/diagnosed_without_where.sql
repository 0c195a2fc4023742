/*
name: diagnosed_without_where
title: Load, and where it comes from
tier: network
unit: count
owner: platform
diagnose: {by: [route]}
levels: {warning: value > 3}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/diagnosed-without-where
*/
SELECT service,
       count(*) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
WHERE method = 'GET'
GROUP BY service
