/*
name: rule_beside_a_table
title: Requests of services whose readings are slow
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: worst > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/rule-beside-a-table
*/
SELECT load.service,
       load.requests AS value,
       latency.worst
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS load
JOIN (
    SELECT service, max(value) AS worst
    FROM hop(rule.read_latency, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS latency ON latency.service = load.service
