/*
name: history_trend_too_long
title: A rise over 1,440 windows
tier: network
unit: count
owner: platform
history:
  rise: trend(value, INTERVAL '1 day')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
