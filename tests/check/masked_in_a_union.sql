/*
name: masked_in_a_union
title: A customer's name in the second half of a union
tier: network
unit: count
owner: platform
key: [who]
levels: {warning: value > 100}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT 'all' AS who, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
UNION ALL
SELECT customer_id AS who, n AS value
FROM (
  SELECT customer_id, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY customer_id
) AS customers
