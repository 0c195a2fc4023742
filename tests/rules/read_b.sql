/*
name: read_b
title: Failed operations
tier: business
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/read-b
*/
SELECT service, count(*) FILTER (WHERE outcome = 'failed') AS value
FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
GROUP BY service
