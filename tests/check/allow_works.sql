/*
name: allow_works
title: One finding is allowed, the other is not
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
-- tierwatch:allow(having) the others are watched by another rule
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
HAVING count(*) > 20
LIMIT 3
