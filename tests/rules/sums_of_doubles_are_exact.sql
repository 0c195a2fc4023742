/*
name: sums_of_doubles_are_exact
title: Sum and average of signed numbers
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/sums-of-doubles-are-exact
*/
SELECT service,
       sum(CASE WHEN method = 'MINUS' THEN -duration_ms ELSE duration_ms END) AS value,
       avg(CASE WHEN method = 'MINUS' THEN -duration_ms ELSE duration_ms END) AS average
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
