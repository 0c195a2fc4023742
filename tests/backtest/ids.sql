/*
name: ids
tier: business
owner: platform
no_data: {after: 1m}
levels:
  healthy:  value >= 0.99
  critical: value < 0.99
annotations:
  summary: "{{ service }}: {{ value | percent }} of {{ workflow }} complete, {{ failed }} failed"
  runbook_url: https://runbooks.example/ids
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
    FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service, workflow, workflow_id
) AS workflows
WHERE began >= window_start
  AND began < window_end - INTERVAL '20 seconds'
GROUP BY service, workflow
