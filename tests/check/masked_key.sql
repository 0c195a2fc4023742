/*
name: masked_key
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "a customer sends {{ value }} requests"
  runbook_url: https://runbooks.example/masked-key
*/
SELECT customer_id,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY customer_id
