/*
name: distinct_values
title: Customers of a service
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} customers"
  runbook_url: https://runbooks.example/distinct-values
*/
SELECT service,
       count(DISTINCT customer_id) AS value,
       approx_distinct(customer_id) AS about
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
