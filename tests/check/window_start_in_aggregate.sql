/*
name: window_start_in_aggregate
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/window-start-in-aggregate
*/
SELECT service,
       count(*) FILTER (WHERE event_time < window_start + INTERVAL '30 seconds') AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
