/*
name: two_slides
tier: network
owner: platform
key: [service]
levels:
  warning:  value > 0.5
annotations:
  summary: "{{ service }}: {{ value | percent }} of the requests"
  runbook_url: https://runbooks.example/two-slides
*/
SELECT recent.service,
       ratio(recent.requests, longer.requests) AS value,
       recent.requests AS samples
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS recent
JOIN (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '20 seconds', INTERVAL '40 seconds')
    GROUP BY service
) AS longer ON recent.service = longer.service
