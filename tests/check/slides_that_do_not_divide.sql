/*
name: slides_that_do_not_divide
tier: network
owner: platform
key: [service]
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/slides-that-do-not-divide
*/
SELECT service,
       ratio(recent.requests, hourly.requests) AS value
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '20 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS recent
JOIN (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '30 seconds', INTERVAL '1 hour')
    GROUP BY service
) AS hourly USING (service)
