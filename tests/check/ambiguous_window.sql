/*
name: ambiguous_window
title: Two windows of different length
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, a.n - b.n AS value, window_start AS began
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS a
JOIN (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 hour')
  GROUP BY service
) AS b USING (service)
