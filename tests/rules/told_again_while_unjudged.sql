/*
name: told_again_while_unjudged
title: A breach that is told again on thin traffic
tier: network
unit: ms
owner: platform
min_samples: 2
repeat_interval: 20s
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/told-again-while-unjudged
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
