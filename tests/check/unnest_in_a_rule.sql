/*
name: unnest_in_a_rule
title: Rows out of a list
tier: network
unit: count
owner: platform
key: [service, part]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(n) AS value, unnest(array_agg(n)) AS part
FROM (
  SELECT service, route, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, route
) AS load
GROUP BY service
