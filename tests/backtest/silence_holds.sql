/*
name: silence_holds
tier: network
owner: platform
no_data: {as: hold, after: 20s, forget: 40s}
levels:
  warning:  value >= 1
annotations:
  summary: "{{ service }}: {{ value | round }} errors"
  runbook_url: https://runbooks.example/silence-holds
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
