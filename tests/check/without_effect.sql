/*
name: without_effect
title: Fields of a later version
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: status_code >= 500, by: [route], top: 5}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
