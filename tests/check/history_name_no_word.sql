/*
name: history_name_no_word
title: A name with a blank
tier: network
unit: count
owner: platform
history:
  the usual: expected(value)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
