/*
name: diagnose_by_of_two_tables
title: Contributors by columns of two tables
tier: network
unit: x
owner: platform
key: [service]
diagnose: {by: [route, outcome]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT a.service, ratio(b.n, a.n) AS value
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS a
JOIN (
  SELECT service, count(*) AS n
  FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS b ON b.service = a.service
