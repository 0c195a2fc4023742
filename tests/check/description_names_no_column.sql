/*
name: description_names_no_column
title: A description of a column that is not there
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }}"
  description: "{{ servce }} is busy"
  runbook_url: https://runbooks.example/x
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
