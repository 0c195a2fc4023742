/*
name: timezone_is_an_offset
title: An offset for a time zone
tier: network
unit: count
owner: platform
timezone: "+01:00"
history:
  usual: expected(value)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
