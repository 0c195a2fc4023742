/*
name: average_of_decimals_is_exact
title: Average ledger entry
tier: business
unit: count
owner: platform
levels: {critical: value <> 0}
annotations:
  summary: "{{ currency }}: {{ value }}"
  runbook_url: https://runbooks.example/average-of-decimals-is-exact
*/
SELECT currency,
       avg(amount) AS value
FROM hop(ledger_entries, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY currency
