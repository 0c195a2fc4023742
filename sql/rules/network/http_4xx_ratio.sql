/*
name: http_4xx_ratio
title: Requests answered with 4xx
tier: network
unit: ratio
owner: platform
labels: {signal: errors}
min_samples: 100                        # one bad request alone is never critical
levels:
  healthy:  value <  0.01
  warning:  value >= 0.01 AND value <= 0.05
  critical: value >  0.05
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: status_code >= 400 AND status_code < 500, by: [route, status_code], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of requests end in 4xx"
  description: >-
    Share of requests that the service turned away as mistakes of the client.
    A sudden rise points at a client that was released lately, a link that broke, or somebody who tries keys.
  runbook_url: https://runbooks.example/http-4xx-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE status_code >= 400 AND status_code < 500), count(*)) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
