/*
name: over_windows
title: A window function over windows
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, n - lag(n) OVER (ORDER BY window_end) AS value
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS counts
