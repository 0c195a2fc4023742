/*
name: history_shorter_than_a_window
title: A share of less than a window
tier: network
unit: count
owner: platform
history:
  failing: share(value > 0, INTERVAL '30 seconds')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
