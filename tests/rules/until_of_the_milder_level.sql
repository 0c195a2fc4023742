/*
name: until_of_the_milder_level
title: From critical into the range that a warning still holds
tier: network
unit: ms
owner: platform
levels:
  warning:  value > 500 AND requests > 0
  critical: value > 2000 AND requests > 0
until: {warning: value < 300, critical: value < 1200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/until-of-the-milder-level
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) AS requests
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
