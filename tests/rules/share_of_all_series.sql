/*
name: share_of_all_series
title: Share of a service in all requests
tier: network
unit: ratio
owner: platform
key: [service]
levels: {warning: value > 0.9}
annotations:
  summary: "{{ service }}: {{ value | percent }} of all requests"
  runbook_url: https://runbooks.example/share-of-all-series
*/
SELECT service,
       ratio(requests, sum(requests) OVER ()) AS value,
       rank() OVER (ORDER BY requests DESC) AS place
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS counts
