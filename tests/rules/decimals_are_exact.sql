/*
name: decimals_are_exact
title: Sum of all ledger entries
tier: business
unit: count
owner: platform
levels: {critical: value <> 0}
annotations:
  summary: "{{ currency }}: {{ value }}"
  runbook_url: https://runbooks.example/decimals-are-exact
*/
SELECT currency,
       sum(amount) AS value
FROM hop(ledger_entries, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY currency
