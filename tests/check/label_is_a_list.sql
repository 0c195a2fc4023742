/*
name: label_is_a_list
title: A label of several
tier: network
unit: count
owner: platform
labels: {teams: [shop, platform]}
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
