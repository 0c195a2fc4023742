/*
name: one_row
tier: network
owner: platform
levels:
  healthy:  value < 0.2
  warning:  value >= 0.2
  critical: value >= 0.6
annotations:
  summary: "{{ services }} services: {{ value | percent }}"
  runbook_url: https://runbooks.example/one-row
*/
SELECT ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS value,
       count(*) AS samples,
       count(DISTINCT service) AS services
FROM tumble(requests, event_time, INTERVAL '10 seconds')
