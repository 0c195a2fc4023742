/*
name: usage_skew
title: The greatest customer against the average
tier: business
unit: x
owner: tests
judge_when: customers >= 5
levels: {warning: value > 3, critical: value > 50}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, ratio(max(n), avg(n)) AS value, count(*) AS customers, sum(n) AS samples
FROM (
  SELECT service, customer_id, count(*) AS n
  FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, customer_id
) AS by_customer
GROUP BY service
