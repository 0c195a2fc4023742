/*
name: history_of_history
title: A function of another function of history
tier: network
unit: count
owner: platform
history:
  again: recurs(deviation(value) > 4, 3, 12)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
