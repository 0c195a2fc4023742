/*
name: consistency_time
title: Time until all subsystems agree
tier: business
unit: s
owner: business-operations
labels: {signal: latency}
levels:                                 # between 30 and 60 the present level holds
  healthy:  value <= 5
  warning:  value >  5 AND value <= 30
  critical: value >  60
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
annotations:
  summary: "{{ service }}: a change takes {{ value | round(1) }} s to reach every subsystem{% if under_way %}, {{ under_way }} of {{ samples }} still on the way{% endif %}"
  description: >-
    Longest time from the start of a workflow until every subsystem has applied it, over those of the last minute.
    One that some subsystem never applies counts up to now, for 10 minutes; one under way counts once it is older than 5 s.
  runbook_url: https://runbooks.example/consistency-time
*/
SELECT service,
       max(extract(epoch FROM coalesce(agreed, window_end) - began)) AS value,
       count(*) AS samples,
       count(*) FILTER (WHERE agreed IS NULL) AS under_way
FROM (
    SELECT begun.service,
           began,
           CASE WHEN steps = (SELECT count(*) FROM subsystems) THEN applied END AS agreed
    FROM (
        SELECT service,
               workflow,
               workflow_id,
               min(event_time) AS began
        FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '10 minutes')
        WHERE phase = 'started'
          AND workflow <> 'autoscaling'
        GROUP BY service, workflow, workflow_id
    ) AS begun
    LEFT JOIN (
        SELECT service,
               workflow,
               workflow_id,
               count(*) AS steps,
               max(applied) AS applied
        FROM (
            SELECT service,
                   workflow,
                   workflow_id,
                   subsystem,
                   min(event_time) AS applied
            FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '10 minutes')
            WHERE phase = 'applied'
            GROUP BY service, workflow, workflow_id, subsystem
        ) AS per_subsystem
        JOIN subsystems USING (subsystem)
        GROUP BY service, workflow, workflow_id
    ) AS reached USING (service, workflow, workflow_id)
) AS changes
WHERE agreed >= window_end - INTERVAL '1 minute'
   OR (agreed IS NULL AND began < window_end - INTERVAL '5 seconds')
GROUP BY service
