/*
name: masked_through_alias
title: A customer's name in a label
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(n) AS value, max(c) AS worst
FROM (
  SELECT service, customer_id AS c, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, customer_id
) AS by_customer
GROUP BY service
