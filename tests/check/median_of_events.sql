/*
name: median_of_events
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/median-of-events
*/
SELECT service,
       median(duration_ms) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
