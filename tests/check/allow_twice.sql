/*
name: allow_twice
title: Two findings of one kind, allowed one by one
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
-- tierwatch:allow(limit) three are enough here
-- tierwatch:allow(limit) really
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
LIMIT 3
