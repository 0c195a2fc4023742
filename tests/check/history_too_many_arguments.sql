/*
name: history_too_many_arguments
title: A function of too much
tier: network
unit: count
owner: platform
history:
  usual: expected(value, INTERVAL '1 hour')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
