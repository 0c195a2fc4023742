/*
name: node_oom_events
title: Processes of a node killed for lack of memory
tier: hardware
unit: count
owner: infrastructure
labels: {signal: errors}
history:
  regular: recurs(value > 0, 3, 12)     # in 3 of the 12 windows of an hour
levels:                                 # a single kill is neither: the present level holds
  healthy:  value = 0
  warning:  value > 1
  critical: regular
until: {warning: value = 0}
for: 0s
keep_firing_for: 5m
no_data: {as: zero, after: 5m, forget: 1h}    # nodes come and go
annotations:
  summary: "{{ cluster }}/{{ node }}: {{ value | round }} processes were killed for lack of memory"
  description: >-
    Kills by the kernel over the window.
    Where they come again and again, a limit is too low or a process leaks, and a restart does not help for long.
  runbook_url: https://runbooks.example/node-oom-events
*/
SELECT cluster,
       node,
       coalesce(sum(oom_kills), 0) AS value,
       count(*) AS samples
FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '5 minutes')
GROUP BY cluster, node
