/*
name: zero_silence_of_more_keys
tier: network
owner: platform
no_data: {as: zero}
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/zero-silence-of-more-keys
*/
SELECT service,
       max(requests) AS value
FROM (
    SELECT service, route, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service, route
) AS per_route
GROUP BY service
