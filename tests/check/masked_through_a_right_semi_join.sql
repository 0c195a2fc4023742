/*
name: masked_through_a_right_semi_join
title: A customer's name from the right side
tier: network
unit: count
owner: platform
key: [who]
levels: {warning: value > 100}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT b.customer_id AS who, b.n AS value
FROM (
  SELECT service, method, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, method
) AS a
RIGHT SEMI JOIN (
  SELECT service, method, customer_id, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, method, customer_id
) AS b ON a.service = b.service AND a.method = b.method
