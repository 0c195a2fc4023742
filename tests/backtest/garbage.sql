/*
name: garbage
tier: network
owner: platform
levels:
  warning:  value > 100
annotations:
  summary: "{{ service }}"
  runbook_url: https://runbooks.example/garbage
*/
SELECT service,
       count(*) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
