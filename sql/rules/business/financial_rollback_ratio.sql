/*
name: financial_rollback_ratio
title: Financial transactions that are rolled back
tier: business
unit: ratio
owner: finance-operations
labels: {signal: errors}
min_samples: 50                         # one rollback alone is never critical
levels:
  healthy:  value <  0.005
  warning:  value >= 0.005 AND value <= 0.02
  critical: value >  0.02
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m}
diagnose: {where: kind = 'rollback' AND leg = 1, by: [book, currency], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of financial transactions are rollbacks"
  description: >-
    Share of rollbacks among all financial transactions.
    Each transaction has several legs and is counted once, by its first.
  runbook_url: https://runbooks.example/financial-rollback-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE kind = 'rollback'), count(*)) AS value,
       count(*) AS samples
FROM hop(ledger_entries, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
WHERE leg = 1
GROUP BY service
