/*
name: event_time_is_another
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/event-time-is-another
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_tmie, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
