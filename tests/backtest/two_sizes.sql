/*
name: two_sizes
tier: business
owner: platform
key: [service]
levels:
  healthy:  value <= 0.4
  warning:  value > 0.4 AND value <= 0.5
  critical: value > 0.5
annotations:
  summary: "{{ service }}: {{ recent_ratio | percent }} lately, {{ longer_ratio | percent }} before"
  runbook_url: https://runbooks.example/two-sizes
*/
SELECT service,
       least(recent.failures, longer.failures) AS value,
       recent.operations AS samples,
       recent.failures AS recent_ratio,
       longer.failures AS longer_ratio
FROM (
    SELECT service,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failures,
           count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS recent
JOIN (
    SELECT service,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failures
    FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS longer USING (service)
