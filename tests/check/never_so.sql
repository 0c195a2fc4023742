/*
name: never_so
title: A word that the schema does not have, and a limit
tier: business
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) FILTER (WHERE outcome = 'success') AS value
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
ORDER BY value DESC
LIMIT 3
