/*
name: key_may_be_missing
title: Reports of a database and its replicas
tier: data
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ database }}/{{ replica }}: {{ value }}"
  runbook_url: https://runbooks.example/key-may-be-missing
*/
SELECT database,
       replica,
       count(*) AS value
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY database, replica
