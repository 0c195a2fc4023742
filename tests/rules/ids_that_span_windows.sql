/*
name: ids_that_span_windows
title: Workflows that complete, given 20 seconds
tier: network
unit: ratio
owner: platform
levels: {warning: value < 0.99}
annotations:
  summary: "{{ service }}: {{ value | percent }} of workflows complete"
  runbook_url: https://runbooks.example/ids-that-span-windows
*/
SELECT service,
       ratio(count(*) FILTER (WHERE completed), count(*)) AS value,
       count(*) AS samples
FROM (
    SELECT service,
           workflow_id,
           min(event_time) FILTER (WHERE phase = 'started') AS began,
           bool_or(phase = 'completed') AS completed
    FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY service, workflow_id
) AS workflows
WHERE began >= window_start
  AND began < window_end - INTERVAL '20 seconds'
GROUP BY service
