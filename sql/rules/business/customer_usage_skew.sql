/*
name: customer_usage_skew
title: Usage of the busiest customer against the average
tier: business
unit: x
owner: business-operations
labels: {signal: traffic}
judge_when: customers >= 20             # among few customers one is always far from the average
levels:
  healthy:  value <= 10
  warning:  value >  10 AND value <= 50
  critical: value >  50
for: {warning: 5m, critical: 1m}
keep_firing_for: 5m
no_data: {as: hold, after: 5m}
diagnose: {where: customer_id IS NOT NULL, by: [customer_id, operation], top: 5}
annotations:
  summary: "{{ service }}: the busiest of {{ customers }} customers uses {{ value | round(1) }} times the average"
  description: >-
    Operations of the busiest customer against the average over all customers of the service.
    Operations without a customer are left out.
  runbook_url: https://runbooks.example/customer-usage-skew
*/
SELECT service,
       ratio(max(operations), avg(operations)) AS value,
       sum(operations) AS samples,
       count(*) AS customers
FROM (
    SELECT service,
           customer_id,
           count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
    WHERE customer_id IS NOT NULL
    GROUP BY service, customer_id
) AS per_customer
GROUP BY service
