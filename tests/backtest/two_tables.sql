/*
name: two_tables
tier: network
owner: platform
key: [service]
levels:
  warning:  value > 0.5
annotations:
  summary: "{{ service }}: {{ value | round(2) }} failed operations a request"
  runbook_url: https://runbooks.example/two-tables
*/
SELECT service,
       ratio(failed.operations, load.requests) AS value
FROM (
    SELECT service, count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '40 seconds')
    WHERE outcome = 'failed'
    GROUP BY service
) AS failed
JOIN (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS load USING (service)
