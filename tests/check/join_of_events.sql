/*
name: join_of_events
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/join-of-events
*/
SELECT r.service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') AS r
JOIN hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') AS o
  ON r.trace_id = o.trace_id
GROUP BY r.service
