/*
name: level_is_no_condition
tier: network
owner: platform
levels: {warning: value, critical: 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/level-is-no-condition
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
