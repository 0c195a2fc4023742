/*
name: united_at_last
title: Two windows united, with nothing above
tier: network
unit: count
owner: tests
key: [service, kind]
levels:
  warning: value > 2
for: 0s
annotations:
  summary: "{{ service }} {{ kind }}: {{ value }}"
  runbook_url: https://runbooks.example/united-at-last
*/
SELECT service, 'requests' AS kind, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
UNION ALL
SELECT service, 'failures' AS kind, count(*) FILTER (WHERE status_code >= 500) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
GROUP BY service
