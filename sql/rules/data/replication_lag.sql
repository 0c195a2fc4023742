/*
name: replication_lag
title: Replication lag
tier: data
unit: s
owner: data-platform
labels: {signal: latency}
levels:                                 # between 10 and 30 the present level holds
  healthy:  value <= 1
  warning:  value >  1 AND value <= 10
  critical: value > 30
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: critical, after: 2m, expect: "replicas(database, replica)"}    # a dead replica has no lag to report
annotations:
  summary: >-
    {{ database }}/{{ replica }}: {% if value is none %}reports no lag
    {%- else %}{{ value | round(1) }} s behind the primary{% endif %}
  description: >-
    Greatest lag that the replica has reported in the window.
    No value means that the replica reports no lag at all, as when replication has stopped or its server is down.
  runbook_url: https://runbooks.example/replication-lag
*/
SELECT database,
       replica,
       max(replication_lag_s) AS value,
       count(*) AS samples
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE replica IS NOT NULL
  AND replication_lag_s IS NOT NULL
GROUP BY database, replica
