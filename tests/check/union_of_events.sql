/*
name: union_of_events
title: Two tables as one
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM (
  SELECT service FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  UNION ALL
  SELECT service FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
) AS events
GROUP BY service
