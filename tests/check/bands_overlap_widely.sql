/*
name: bands_overlap_widely
title: Bands that overlap over more than a point
tier: network
unit: count
owner: platform
levels:
  healthy:  value <= 600
  warning:  value >  500
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
