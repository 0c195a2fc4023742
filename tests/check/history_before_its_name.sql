/*
name: history_before_its_name
title: A column that comes later
tier: network
unit: count
owner: platform
history:
  rise: value - earlier
  earlier: ago(value, INTERVAL '1 minute')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
