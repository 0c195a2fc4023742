/*
name: allow_in_the_header
title: One finding is allowed in the header, the other is not
tier: network
unit: count
owner: platform
# tierwatch:allow(limit) three are enough here
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
HAVING count(*) > 20
LIMIT 3
