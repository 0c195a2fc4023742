/*
name: key_is_missing
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/key-is-missing
*/
SELECT load.service,
       load.requests AS value
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS load
JOIN services USING (service)
