/*
name: reference_is_unknown
tier: network
owner: platform
key: [service]
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/reference-is-unknown
*/
SELECT service,
       requests / tested_rps AS value
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS load
JOIN tested_capactiy USING (service)
