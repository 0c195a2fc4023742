/*
name: history_rise_is_no_number
title: A least rise that is no number
tier: network
unit: count
owner: platform
history:
  climbing: growing(value, INTERVAL '10 minutes', samples)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
