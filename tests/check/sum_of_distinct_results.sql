/*
name: sum_of_distinct_results
title: A sum of distinct values above the fold
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, sum(DISTINCT n) AS value
FROM (
  SELECT service, route, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service, route
) AS counts
GROUP BY service
