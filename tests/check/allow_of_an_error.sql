/*
name: allow_of_an_error
title: An error cannot be allowed
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
-- tierwatch:allow(integer-division) 0 or 1 is what is meant
SELECT service, count(*) FILTER (WHERE status_code >= 500) / count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
