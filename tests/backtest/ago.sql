/*
name: ago
tier: network
owner: platform
key: [service]
levels:
  warning:  value >= 2
annotations:
  summary: "{{ service }}: {{ value | round(2) }} times as many as before"
  runbook_url: https://runbooks.example/ago
*/
SELECT service,
       ratio(present.requests, past.requests) AS value
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS present
JOIN (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds', ago => INTERVAL '20 seconds')
    GROUP BY service
) AS past USING (service)
