/*
name: ids_without_a_guard
title: Workflows that complete, also those that have just begun
tier: business
unit: ratio
owner: platform
levels: {warning: value < 0.99}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, ratio(count(*) FILTER (WHERE completed), count(*)) AS value
FROM (
  SELECT service, workflow_id, bool_or(phase = 'completed') AS completed
  FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '1 hour')
  GROUP BY service, workflow_id
) AS workflows
GROUP BY service
