/*
name: judge_when_a_predicate_holds
title: Connections of databases that say how many they allow
tier: data
unit: count
owner: platform
judge_when: allowed >= 10
levels: {warning: value > 80}
annotations:
  summary: "{{ database }}: {{ value }}"
  runbook_url: https://runbooks.example/judge-when-a-predicate-holds
*/
SELECT database,
       max(connections_used) AS value,
       max(connections_max) AS allowed
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY database
