/*
name: silence_of_one_table_is_zero
title: Operations for each request, where either may be silent
tier: network
unit: x
owner: platform
key: [service]
no_data: {as: zero}
levels: {critical: value = 0}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-of-one-table-is-zero
*/
SELECT r.service,
       ratio(o.operations, r.requests) AS value
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS r
JOIN (
    SELECT service, count(*) AS operations
    FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS o ON r.service = o.service
