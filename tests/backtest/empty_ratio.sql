/*
name: empty_ratio
tier: business
owner: platform
for: 20s
no_data: {as: hold, after: 20s}
levels:
  healthy:  value >= 0.9
  critical: value < 0.9
annotations:
  summary: "{{ service }}: {{ value | percent }} of payments succeed"
  runbook_url: https://runbooks.example/empty-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE operation = 'pay' AND outcome = 'succeeded'), count(*) FILTER (WHERE operation = 'pay')) AS value,
       count(*) AS samples
FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
GROUP BY service
