/*
name: diagnosed
title: Failed operations, and what is behind them
tier: business
unit: count
owner: platform
diagnose: {where: outcome = 'failed', by: [operation, error_type], top: 2}
levels: {warning: value > 0, critical: value > 4}
annotations:
  summary: "{{ service }}: {{ value }} operations failed"
  runbook_url: https://runbooks.example/diagnosed
*/
SELECT service,
       count(*) FILTER (WHERE outcome = 'failed') AS value
FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
GROUP BY service
