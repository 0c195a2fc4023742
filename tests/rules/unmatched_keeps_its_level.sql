/*
name: unmatched_keeps_its_level
title: Levels that are no intervals of the value
tier: network
unit: ms
owner: platform
levels:
  healthy:  value <= 500
  warning:  value > 500 AND errors > 0
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/unmatched-keeps-its-level
*/
-- tierwatch:allow(levels-not-intervals) to keep the level is what is meant here
SELECT service,
       max(duration_ms) AS value,
       count(*) FILTER (WHERE status_code >= 500) AS errors
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
