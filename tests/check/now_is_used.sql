/*
name: now_is_used
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/now-is-used
*/
SELECT service,
       count(*) FILTER (WHERE event_time > now() - INTERVAL '30 seconds') AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
