/*
name: db_query_latency_p95
title: Latency of database queries, 95th percentile
tier: data
unit: ms
owner: data-platform
labels: {signal: latency}
min_samples: 20                         # fewer have no 95th percentile
levels:                                 # between 500 and 1000 the present level holds
  healthy:  value <= 100
  warning:  value >  100 AND value <= 500
  critical: value > 1000
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
diagnose: {where: duration_ms > 100, by: [service, operation], top: 5}
annotations:
  summary: "{{ database }}: 95% of queries are answered within {{ value | round(1) }} ms"
  description: >-
    Time from query to result that 95% of the queries keep, as the services measure it, failed queries included.
    It rises with waiting for locks as well as with slow plans: look at the slowest kinds of query first.
  runbook_url: https://runbooks.example/db-query-latency-p95
*/
SELECT database,
       approx_percentile_cont(duration_ms, 0.95) AS value,
       count(*) AS samples,
       max(duration_ms) AS slowest_ms
FROM hop(database_queries, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY database
