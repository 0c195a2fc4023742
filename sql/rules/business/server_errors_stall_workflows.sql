/*
name: server_errors_stall_workflows
title: Server errors that leave workflows unfinished
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
no_data: {as: hold, after: 10m}
annotations:
  summary: "{{ service }}: {{ value | round }} kinds of workflow stay unfinished after 5xx answers{% if workflows %}: {{ workflows }}{% endif %}"
  description: >-
    Number of kinds of workflow in breach of workflow_completion_ratio where http_5xx_ratio of the same service is too.
    Workflows are given 10 minutes and count over an hour, so errors of the last half hour are taken for the cause.
  runbook_url: https://runbooks.example/server-errors-stall-workflows
*/
SELECT service,
       CASE WHEN failing THEN stalled ELSE 0 END AS value,
       samples,
       CASE WHEN failing AND stalled > 0 THEN 'http_5xx_ratio, workflow_completion_ratio' END AS rules,
       CASE WHEN failing THEN workflows END AS workflows,
       business_critical
FROM (
    SELECT business.service,
           business.stalled,
           business.workflows,
           business.critical AS business_critical,
           business.readings AS samples,
           coalesce(errors.breached, false) AS failing
    FROM (
        SELECT service,
               count(*) FILTER (WHERE breached) AS stalled,
               string_agg(workflow, ', ' ORDER BY workflow) FILTER (WHERE breached) AS workflows,
               bool_or(critical) AS critical,
               sum(readings) AS readings
        FROM (
            SELECT service,
                   workflow,
                   bool_or(state <> 'healthy') AS breached,
                   bool_or(state = 'critical') AS critical,
                   count(*) AS readings
            FROM hop(rule.workflow_completion_ratio, window_end, INTERVAL '1 minute', INTERVAL '2 minutes')
            GROUP BY service, workflow
        ) AS per_workflow
        GROUP BY service
    ) AS business
    LEFT JOIN (
        SELECT service,
               bool_or(state <> 'healthy') AS breached
        FROM hop(rule.http_5xx_ratio, window_end, INTERVAL '1 minute', INTERVAL '30 minutes')
        GROUP BY service
    ) AS errors USING (service)
) AS sides
