/*
name: history_ago
title: Response time against that of 20 seconds ago
tier: network
unit: ms
owner: platform
history:
  earlier: ago(value, INTERVAL '20 seconds')
  rise: value - earlier
levels: {warning: rise > 100}
annotations:
  summary: "{{ service }}: {{ rise | round }} ms more than {{ earlier | round }} ms"
  runbook_url: https://runbooks.example/history-ago
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
