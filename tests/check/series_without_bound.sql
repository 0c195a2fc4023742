/*
name: series_without_bound
title: A series for each operation id
tier: business
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ operation_id }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT operation_id, count(*) AS value
FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY operation_id
