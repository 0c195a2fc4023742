/*
name: history_learnt_in_a_file
title: Response time against what lies beside the rule
tier: network
unit: ms
owner: platform
history:
  usual: expected(value)
levels: {warning: value > 2 * usual}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/history-learnt-in-a-file
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '1 hour')
GROUP BY service
