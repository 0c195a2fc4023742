/*
name: bands_overlap
title: A value that is healthy and a warning at once
tier: network
unit: count
owner: platform
levels:
  healthy:  value <= 500
  warning:  value >= 500 AND value <= 1200
  critical: value >  1200
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
