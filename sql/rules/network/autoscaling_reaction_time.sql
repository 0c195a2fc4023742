/*
name: autoscaling_reaction_time
title: Time from a scaling signal to capacity in service
tier: network
unit: s
owner: platform
labels: {signal: saturation}
levels:
  healthy:  value <  60
  warning:  value >= 60 AND value <= 180
  critical: value >  180
for: 0s                                 # the value is a time of waiting already
no_data: {as: healthy, after: 1m}       # nothing to scale, nothing to wait for
annotations:
  summary: "{{ service }}: {% if samples %}capacity takes {{ value | round }} s to follow the signal{% else %}nothing to scale{% endif %}{% if under_way %}, {{ under_way }} of {{ samples }} on the way{% endif %}"
  description: >-
    Longest time from a scaling signal to its capacity in service, over the scalings of the last 5 minutes.
    One that failed or never ends counts up to now, for half an hour; one under way counts once it is a minute old.
  runbook_url: https://runbooks.example/autoscaling-reaction-time
*/
SELECT service,
       max(extract(epoch FROM coalesce(ready, window_end) - began)) AS value,
       count(*) AS samples,
       count(*) FILTER (WHERE ready IS NULL) AS under_way
FROM (
    SELECT service,
           workflow_id,
           min(event_time) FILTER (WHERE phase = 'started') AS began,
           min(event_time) FILTER (WHERE phase = 'completed') AS ready
    FROM hop(workflow_events, event_time, INTERVAL '10 seconds', INTERVAL '30 minutes')
    WHERE workflow = 'autoscaling'
    GROUP BY service, workflow_id
) AS scalings
WHERE began >= window_start
  AND (ready >= window_end - INTERVAL '5 minutes'
       OR (ready IS NULL AND began <= window_end - INTERVAL '1 minute'))
GROUP BY service
