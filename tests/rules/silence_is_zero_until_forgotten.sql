/*
name: silence_is_zero_until_forgotten
title: Errors of services that come and go
tier: network
unit: count
owner: platform
no_data: {as: zero, forget: 40s}
levels: {critical: value > 0}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/silence-is-zero-until-forgotten
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
