/*
name: history_of_a_text
title: A text where a number belongs
tier: network
unit: count
owner: platform
history:
  usual: expected(service)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
