/*
name: history_recurs_in_a_span
title: A span where a number belongs
tier: network
unit: count
owner: platform
history:
  again: recurs(value > 0, 3, INTERVAL '1 hour')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
