/*
name: odd_size
tier: network
owner: platform
levels:
  warning:  value > 7
annotations:
  summary: "{{ service }}: {{ value | round }} requests"
  runbook_url: https://runbooks.example/odd-size
*/
SELECT service,
       count(*) AS value,
       window_seconds AS seconds
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '25 seconds')
GROUP BY service
