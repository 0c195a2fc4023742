/*
name: until_ends_a_level
title: Critical until it is well below the limit
tier: network
unit: ms
owner: platform
levels:
  warning:  value > 500
  critical: value > 2000 AND errors > 0
until: {critical: value < 1200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/until-ends-a-level
*/
SELECT service,
       max(duration_ms) AS value,
       count(*) FILTER (WHERE status_code >= 500) AS errors
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
