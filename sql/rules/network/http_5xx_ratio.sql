/*
name: http_5xx_ratio
title: Requests answered with 5xx
tier: network
unit: ratio
owner: platform
labels: {signal: errors}
min_samples: 100                        # one failure alone is never critical
levels:
  healthy:  value <  0.001
  warning:  value >= 0.001 AND value <= 0.01
  critical: value >  0.01
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: status_code >= 500, by: [route, status_code], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of requests end in 5xx"
  description: >-
    Share of requests that the service answered with an error of its own.
    Compare it with the latest deployment and with the health of the databases behind it.
  runbook_url: https://runbooks.example/http-5xx-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE status_code >= 500), count(*)) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
