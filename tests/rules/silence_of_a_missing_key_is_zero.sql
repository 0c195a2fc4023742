/*
name: silence_of_a_missing_key_is_zero
title: Reports of a database and its replicas, none being zero
tier: data
unit: count
owner: platform
no_data: {as: zero}
levels: {critical: value = 0}
annotations:
  summary: "{{ database }}/{{ replica }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-of-a-missing-key-is-zero
*/
SELECT database,
       replica,
       count(*) AS value
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY database, replica
