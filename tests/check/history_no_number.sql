/*
name: history_no_number
title: A condition where a number belongs
tier: network
unit: count
owner: platform
history:
  climbing: growing(value > 0, INTERVAL '10 minutes')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
