/*
name: level_typo
tier: network
owner: platform
levels:
  warning:  value > 5 AND value <= 50
  critical: vaule > 50
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/level-typo
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
