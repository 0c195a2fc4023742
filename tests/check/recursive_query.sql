/*
name: recursive_query
title: A query that never ends
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
WITH RECURSIVE endless AS (
  SELECT 1 AS n
  UNION ALL
  SELECT n FROM endless
)
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
