/*
name: expected_unquoted
title: A comma without quotes
tier: data
unit: s
owner: platform
no_data: {as: critical, expect: replicas(database, replica)}
levels: {warning: value > 100}
annotations: {summary: "{{ database }}/{{ replica }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT database, replica, max(replication_lag_s) AS value
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY database, replica
