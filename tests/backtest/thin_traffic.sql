/*
name: thin_traffic
tier: network
owner: platform
min_samples: 3
for: 20s
levels:
  healthy:  value <= 0.5
  critical: value > 0.5
annotations:
  summary: "{{ service }}: {{ value | percent }} of {{ samples }} requests fail"
  runbook_url: https://runbooks.example/thin-traffic
*/
SELECT service,
       ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS value,
       count(*) AS samples
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
