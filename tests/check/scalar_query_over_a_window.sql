/*
name: scalar_query_over_a_window
title: A share by a query within the list
tier: network
unit: ratio
owner: platform
levels: {warning: value > 0.5}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, ratio(count(*), (SELECT count(*) FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute'))) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
