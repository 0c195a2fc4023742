/*
name: predicates_without_an_answer
title: Connections against those allowed
tier: data
unit: count
owner: platform
levels:
  warning:  value > 0.8 * allowed
  critical: value > 0.95 * allowed
annotations:
  summary: "{{ database }}: {{ value }}"
  runbook_url: https://runbooks.example/predicates-without-an-answer
*/
SELECT database,
       max(connections_used) AS value,
       max(connections_max) AS allowed
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY database
