/*
name: queue_oldest_message_age
title: Age of the oldest unprocessed message
tier: data
unit: s
owner: data-platform
labels: {signal: saturation}
levels:                                 # between 300 and 600 the present level holds
  healthy:  value <= 30
  warning:  value >  30 AND value <= 300
  critical: value > 600
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: warning, after: 5m}       # an empty queue reports 0, so silence is no empty queue
annotations:
  summary: >-
    {{ queue }}: {% if value is none %}reports nothing
    {%- else %}the oldest message has waited {{ value | round }} s{% endif %}
  description: >-
    Greatest age of the oldest waiting message that was reported in the window.
    Age with a small depth points to one message that nobody can process, age with a growing depth to slow readers.
  runbook_url: https://runbooks.example/queue-oldest-message-age
*/
SELECT queue,
       max(oldest_message_age_s) AS value,
       count(*) AS samples,
       max(depth) AS depth
FROM hop(queue_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY queue
