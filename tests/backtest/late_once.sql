/*
name: late_once
tier: network
owner: platform
key: [service]
levels:
  warning:  value > 100
annotations:
  summary: "{{ service }}"
  runbook_url: https://runbooks.example/late-once
*/
SELECT service,
       recent.requests AS value,
       longer.requests AS longer
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS recent
JOIN (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS longer USING (service)
