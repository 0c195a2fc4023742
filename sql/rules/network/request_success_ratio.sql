/*
name: request_success_ratio
title: Requests that succeed
tier: network
unit: ratio
owner: platform
labels: {signal: errors}
min_samples: 200                        # one failure alone is never critical
levels:                                 # between 0.9990 and 0.9995 the present level holds
  healthy:  value >= 0.9995
  warning:  value <  0.9990
  critical: value <  0.9950
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m, expect: services(service)}
diagnose: {where: status_code >= 500, by: [route, service_version], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of requests succeed"
  description: >-
    Share of requests that the service answered without an error of its own.
    A 4xx answer is a mistake of the client and counts as success.
  runbook_url: https://runbooks.example/request-success-ratio
*/
SELECT service,
       ratio(count(*) FILTER (WHERE status_code < 500), count(*)) AS value,
       count(*) AS samples
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY service
