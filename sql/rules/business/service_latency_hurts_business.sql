/*
name: service_latency_hurts_business
title: Slow or failing requests that hurt the business
tier: business
unit: count
owner: business-operations
labels: {signal: correlation}
key: [service]
levels:                                 # healthy is neither; how bad it is, the business says
  warning:  value > 0
  critical: value > 0 AND business_critical
for: 0s                                 # the rules that it reads have waited already
keep_firing_for: 3m
no_data: {as: hold, after: 5m}
annotations:
  summary: "{{ service }}: one incident of {{ value | round }} rules{% if rules %}: {{ rules }}{% endif %}"
  description: >-
    Number of rules in breach where a technical and a business rule of the same service are within two minutes.
    Start with the technical one: most likely it is the cause of what the business sees.
  runbook_url: https://runbooks.example/service-latency-hurts-business
*/
SELECT service,
       CASE WHEN hurts AND (slow OR failing)
            THEN 1 + CASE WHEN slow THEN 1 ELSE 0 END + CASE WHEN failing THEN 1 ELSE 0 END
            ELSE 0
       END AS value,
       samples,
       CASE WHEN hurts AND (slow OR failing)
            THEN concat_ws(', ',
                           CASE WHEN slow THEN 'response_latency_p95' END,
                           CASE WHEN failing THEN 'request_success_ratio' END,
                           'business_success_ratio')
       END AS rules,
       business_critical
FROM (
    SELECT business.service,
           business.breached AS hurts,
           business.critical AS business_critical,
           business.readings AS samples,
           coalesce(latency.breached, false) AS slow,
           coalesce(success.breached, false) AS failing
    FROM (
        SELECT service,
               bool_or(state <> 'healthy') AS breached,
               bool_or(state = 'critical') AS critical,
               count(*) AS readings
        FROM hop(rule.business_success_ratio, window_end, INTERVAL '10 seconds', INTERVAL '2 minutes')
        GROUP BY service
    ) AS business
    LEFT JOIN (
        SELECT service,
               bool_or(state <> 'healthy') AS breached
        FROM hop(rule.response_latency_p95, window_end, INTERVAL '10 seconds', INTERVAL '2 minutes')
        GROUP BY service
    ) AS latency USING (service)
    LEFT JOIN (
        SELECT service,
               bool_or(state <> 'healthy') AS breached
        FROM hop(rule.request_success_ratio, window_end, INTERVAL '10 seconds', INTERVAL '2 minutes')
        GROUP BY service
    ) AS success USING (service)
) AS sides
