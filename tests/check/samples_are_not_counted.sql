/*
name: samples_are_not_counted
tier: network
owner: platform
min_samples: 20
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/samples-are-not-counted
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
