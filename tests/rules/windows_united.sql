/*
name: windows_united
title: Requests and operations of a service together
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} events"
  runbook_url: https://runbooks.example/windows-united
*/
WITH counted AS (
    SELECT service, count(*) AS events
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
    UNION ALL
    SELECT service, count(*) AS events
    FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
    GROUP BY service
)
SELECT service,
       sum(events) AS value,
       count(*) AS sides
FROM counted
GROUP BY service
