/*
name: several_mistakes
tier: network
levels:
  warning:  vaule > 5
  critical: value
annotations:
  summary: "{{ sevice }}: {{ value }}"
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
