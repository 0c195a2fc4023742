/*
name: workflow_completion_ratio
title: Workflows that complete
tier: business
unit: ratio
owner: business-operations
labels: {signal: errors}
min_samples: 20
levels:
  healthy:  value >= 0.99
  warning:  value >= 0.95 AND value < 0.99
  critical: value <  0.95
for: {warning: 5m, critical: 1m}
no_data: {as: hold, after: 10m}
diagnose: {where: phase = 'failed', by: [workflow, subsystem], top: 5}
annotations:
  summary: "{{ service }}: {{ value | percent }} of {{ workflow }} workflows complete"
  description: >-
    Share of the workflows begun in the window that have completed.
    Each is given 10 minutes, so those that began in the last 10 minutes do not count yet.
    Scaling is a workflow of the platform and has a rule of its own.
  runbook_url: https://runbooks.example/workflow-completion-ratio
*/
SELECT service,
       workflow,
       ratio(count(*) FILTER (WHERE completed), count(*)) AS value,
       count(*) AS samples,
       count(*) FILTER (WHERE failed) AS failed
FROM (
    SELECT service,
           workflow,
           workflow_id,
           min(event_time) FILTER (WHERE phase = 'started') AS began,
           bool_or(phase = 'completed') AS completed,
           bool_or(phase = 'failed') AS failed
    FROM hop(workflow_events, event_time, INTERVAL '1 minute', INTERVAL '70 minutes')
    WHERE workflow <> 'autoscaling'
    GROUP BY service, workflow, workflow_id
) AS workflows
WHERE began >= window_start
  AND began < window_end - INTERVAL '10 minutes'
GROUP BY service, workflow
