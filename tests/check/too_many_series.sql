/*
name: too_many_series
tier: business
owner: tests
unit: operations
levels: {warning: value > 5}
max_series: 0
annotations: {summary: "{{ value }}", runbook_url: "https://x"}
*/
SELECT count(*) AS value
FROM hop(business_operations, event_time, INTERVAL '1 minute', INTERVAL '5 minutes')
