/*
name: read_failures
title: Failed operations, to be read by other rules
tier: business
unit: count
owner: platform
levels: {critical: value > 0}
annotations:
  summary: "{{ service }}: {{ value }} failures"
  runbook_url: https://runbooks.example/read-failures
*/
SELECT service,
       count(*) FILTER (WHERE outcome = 'failed') AS value
FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
GROUP BY service
