/*
name: ratio_of_nothing
title: Share of payments that fail
tier: business
unit: ratio
owner: platform
levels:                                 # between 0.1 and 0.5 the present level holds
  healthy:  value <= 0.1
  critical: value >= 0.5
annotations:
  summary: "{{ service }}: {{ value | percent }} of payments fail"
  runbook_url: https://runbooks.example/ratio-of-nothing
*/
SELECT service,
       ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*) FILTER (WHERE operation = 'pay')) AS value,
       count(*) AS samples
FROM tumble(business_operations, event_time, INTERVAL '10 seconds')
GROUP BY service
