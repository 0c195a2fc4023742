/*
name: history_of_what_is_judged
title: Errors that recur in busy windows
tier: network
unit: ms
owner: platform
min_samples: 2
history:
  again: recurs(value > 0, 2, 4)
levels: {warning: again}
annotations:
  summary: "{{ service }}: {{ value }} errors"
  runbook_url: https://runbooks.example/history-of-what-is-judged
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
