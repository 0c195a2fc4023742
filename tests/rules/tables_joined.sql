/*
name: tables_joined
title: Business operations for each request
tier: network
unit: x
owner: platform
key: [service]
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} operations for each request"
  runbook_url: https://runbooks.example/tables-joined
*/
SELECT coalesce(r.service, o.service) AS service,
       ratio(coalesce(o.operations, 0), coalesce(r.requests, 0)) AS value
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS r
FULL JOIN (
    SELECT service, count(*) AS operations
    FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS o ON r.service = o.service
