/*
name: financial_record_mismatch
title: Financial transactions that do not balance
tier: business
unit: count
owner: finance-operations
labels: {signal: errors}
history:
  regular: recurs(value > 0, 3, 12)     # in 3 or more of the 12 windows of the last 3 hours
levels:                                 # healthy is neither: all of them balance
  warning:  value > 0
  critical: regular
for: 0s                                 # one is one too many
keep_firing_for: 15m
no_data: {as: hold, after: 15m}         # a silent ledger proves nothing
annotations:
  summary: "{{ service }}: {{ value | round }} of {{ samples }} transactions do not balance{% if example %}, {{ example }} for one{% endif %}"
  description: >-
    Transactions whose legs do not sum to zero in each of their currencies.
    The legs of a transaction are given a minute to arrive; one that comes later counts as missing until then.
    One is a case to be looked at by hand; critical means that they come again and again.
  runbook_url: https://runbooks.example/financial-record-mismatch
*/
SELECT service,
       count(*) FILTER (WHERE mismatched) AS value,
       count(*) AS samples,
       min(transaction_id) FILTER (WHERE mismatched) AS example
FROM (
    SELECT service,
           transaction_id,
           min(began) AS began,
           bool_or(total <> 0) AS mismatched
    FROM (
        SELECT service,
               transaction_id,
               currency,
               min(event_time) AS began,
               sum(amount) AS total
        FROM hop(ledger_entries, event_time, INTERVAL '1 minute', INTERVAL '15 minutes')
        GROUP BY service, transaction_id, currency
    ) AS per_currency
    GROUP BY service, transaction_id
) AS transactions
WHERE began >= window_start + INTERVAL '2 minutes'       -- earlier ones may have lost a leg to the window's edge
  AND began <  window_end - INTERVAL '1 minute'
GROUP BY service
