/*
name: history_is_no_sql
title: An expression that is none
tier: network
unit: count
owner: platform
history:
  rise: value - - ,
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
