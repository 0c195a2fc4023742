/*
name: join_by_inequality
title: Every service with every slower one
tier: network
unit: count
owner: platform
key: [service, other]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT a.service, b.service AS other, b.n - a.n AS value
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS a
JOIN (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS b ON a.n < b.n
