/*
name: full_join_using
tier: network
owner: platform
key: [service]
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/full-join-using
*/
SELECT service,
       recent.requests - before.requests AS value
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS recent
FULL JOIN (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 hour')
    GROUP BY service
) AS before USING (service)
