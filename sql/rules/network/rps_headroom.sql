/*
name: rps_headroom
title: Load against tested capacity
tier: network
unit: ratio
owner: platform
labels: {signal: saturation}
key: [service]
levels:                                 # between 0.80 and 0.85 the present level holds
  healthy:  value <= 0.60
  warning:  value >  0.60 AND value <= 0.80
  critical: value >  0.85
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m, expect: tested_capacity(service)}
diagnose: {by: [route, method], top: 5}
annotations:
  summary: "{{ service }}: load is at {{ value | percent }} of the tested capacity"
  description: >-
    Requests per second against those that the service carried in its last load test.
    A service without a tested capacity has no reading.
  runbook_url: https://runbooks.example/rps-headroom
*/
SELECT service,
       ratio(rps, tested_rps) AS value,
       requests AS samples,
       rps,
       tested_rps
FROM (
    SELECT service,
           count(*) AS requests,
           count(*) / window_seconds AS rps
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service
) AS load
JOIN tested_capacity USING (service)
