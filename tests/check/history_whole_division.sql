/*
name: history_whole_division
title: A share of whole numbers
tier: network
unit: count
owner: platform
history:
  failing: share(errors / samples > 0.1, INTERVAL '10 minutes')
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value, count(*) FILTER (WHERE status_code >= 500) AS errors, count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
