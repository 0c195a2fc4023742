/*
name: deployment_error_delta
title: Failing operations after a deployment against before
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
key: [service]
min_samples: 100                        # of each version; one failure alone is never critical
levels:
  healthy:  value <= 0.002
  warning:  value >  0.002 AND value <= 0.01
  critical: value >  0.01
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 5m, forget: 2h}    # the old version falls silent, and with it the comparison
diagnose: {where: outcome = 'failed', by: [service_version, operation, error_type], top: 5}
annotations:
  summary: "{{ service }}: {{ failure_ratio_after | percent }} of operations fail under {{ version }}, {{ failure_ratio_before | percent }} under {{ previous_version }}"
  description: >-
    Share of operations that fail under the version deployed last, minus that under the version before it.
    Both count over the last half hour, so a rollout by steps compares the two side by side.
    A rollback is a deployment too, and ends the alert.
  runbook_url: https://runbooks.example/deployment-error-delta
*/
SELECT latest.service,
       latest.version,
       latest.previous_version,
       after.failure_ratio - before.failure_ratio AS value,
       least(after.operations, before.operations) AS samples,
       after.failure_ratio AS failure_ratio_after,
       before.failure_ratio AS failure_ratio_before
FROM (
    SELECT service,
           max_by(version, event_time) AS version,
           max_by(previous_version, event_time) AS previous_version
    FROM hop(deployments, event_time, INTERVAL '1 minute', INTERVAL '1 hour')
    GROUP BY service
) AS latest
JOIN (
    SELECT service,
           service_version AS version,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failure_ratio,
           count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '1 minute', INTERVAL '30 minutes')
    GROUP BY service, service_version
) AS after ON after.service = latest.service AND after.version = latest.version
JOIN (
    SELECT service,
           service_version AS version,
           ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failure_ratio,
           count(*) AS operations
    FROM hop(business_operations, event_time, INTERVAL '1 minute', INTERVAL '30 minutes')
    GROUP BY service, service_version
) AS before ON before.service = latest.service AND before.version = latest.previous_version
