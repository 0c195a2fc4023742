/*
name: history_ago_between_readings
title: A reading that is not there
tier: network
unit: count
owner: platform
history:
  earlier: ago(value, INTERVAL '95 seconds')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
