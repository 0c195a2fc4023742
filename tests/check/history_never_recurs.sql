/*
name: history_never_recurs
title: More windows than there are
tier: network
unit: count
owner: platform
history:
  again: recurs(value > 0, 13, 12)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
