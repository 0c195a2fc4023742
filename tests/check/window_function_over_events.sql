/*
name: window_function_over_events
title: The place of each event
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, max(place) AS value
FROM (
  SELECT service, row_number() OVER (PARTITION BY service ORDER BY duration_ms) AS place
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
) AS events
GROUP BY service
