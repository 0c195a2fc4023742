/*
name: silent_customers_are_zero
title: Customers of a service, none in silence
tier: network
unit: count
owner: platform
no_data: {as: zero}
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} customers"
  runbook_url: https://runbooks.example/silent-customers-are-zero
*/
SELECT service,
       count(DISTINCT customer_id) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
