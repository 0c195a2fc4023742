/*
name: key_twice
tier: network
owner: platform
key: [service]
levels:
  warning:  value > 5
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/key-twice
*/
SELECT load.service,
       load.requests AS value
FROM (
    SELECT service, route, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service, route
) AS load
JOIN services ON services.service = load.service
