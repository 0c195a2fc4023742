/*
name: decimals
tier: business
owner: platform
unit: EUR
levels:
  warning:  value > 4.6
annotations:
  summary: "{{ service }}: {{ value | round(2) }}"
  runbook_url: https://runbooks.example/decimals
*/
SELECT service,
       sum(amount) AS value,
       count(*) AS samples,
       min(amount) AS smallest,
       max(amount) AS largest
FROM tumble(ledger_entries, event_time, INTERVAL '10 seconds')
WHERE leg = 1
GROUP BY service
