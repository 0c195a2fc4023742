/*
name: tumble_ago
title: Requests of a minute against those of the minute before
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} after {{ before }}"
  runbook_url: https://runbooks.example/tumble-ago
*/
SELECT recent.service,
       recent.requests AS value,
       before.requests AS before
FROM (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '30 seconds')
    GROUP BY service
) AS recent
LEFT JOIN (
    SELECT service, count(*) AS requests
    FROM tumble(requests, event_time, INTERVAL '30 seconds', ago => INTERVAL '15 seconds')
    GROUP BY service
) AS before ON before.service = recent.service
