/*
name: expected_pairs_of_columns
title: Replicas that must report
tier: network
unit: s
owner: platform
no_data: {as: critical, after: 40s, expect: "replicas(database, replica)"}
levels: {critical: value > 30}
annotations:
  summary: "{{ database }}/{{ replica }}: {{ value }}"
  runbook_url: https://runbooks.example/expected-pairs-of-columns
*/
SELECT database,
       replica,
       max(replication_lag_s) AS value
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY database, replica
