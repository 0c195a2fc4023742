/*
name: limit_of_each_series
title: Requests against the tested capacity
tier: network
unit: count
owner: platform
key: [service]
levels:
  warning:  value > tested_rps
  critical: value > 2 * tested_rps
annotations:
  summary: "{{ service }}: {{ value }} of {{ tested_rps }}"
  runbook_url: https://runbooks.example/limit-of-each-series
*/
SELECT service,
       requests AS value,
       tested_rps
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS load
JOIN tested_capacity USING (service)
