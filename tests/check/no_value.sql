/*
name: no_value
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }} is busy"
  runbook_url: https://runbooks.example/no-value
*/
SELECT service,
       count(*) AS vlaue
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
