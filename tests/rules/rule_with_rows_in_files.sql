/*
name: rule_with_rows_in_files
title: Requests, counted from a file
tier: network
unit: count
owner: platform
levels: {warning: value > 2}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/rule-with-rows-in-files
*/
SELECT service,
       count(*) AS value,
       max(duration_ms) AS slowest_ms
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
