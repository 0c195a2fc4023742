/*
name: busy_customers
title: Customers with more than two requests
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} busy customers"
  runbook_url: https://runbooks.example/busy-customers
*/
SELECT service,
       count(*) FILTER (WHERE requests > 2) AS value,
       max(requests) AS most
FROM (
    SELECT service, customer_id, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service, customer_id
    HAVING count(*) > 1
) AS customers
WHERE service IN (SELECT service FROM services WHERE tier = 'tier1')
GROUP BY service
ORDER BY service
