/*
name: history_growing_too_short
title: A rise over two windows
tier: network
unit: count
owner: platform
history:
  climbing: growing(value, INTERVAL '2 minutes')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
