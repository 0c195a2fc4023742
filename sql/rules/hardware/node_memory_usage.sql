/*
name: node_memory_usage
title: Memory usage of a node
tier: hardware
unit: ratio
owner: infrastructure
labels: {signal: saturation}
min_samples: 3
levels:                                 # between 0.85 and 0.90 the present level holds
  healthy:  value <= 0.70
  warning:  value >  0.70 AND value <= 0.85
  critical: value >  0.90
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m, forget: 1h}    # nodes come and go
annotations:
  summary: "{{ cluster }}/{{ node }}: {{ value | percent }} of the memory is in use"
  description: >-
    Average of the node's own reports over the window.
    Look for a process that grows before the kernel has to kill one.
  runbook_url: https://runbooks.example/node-memory-usage
*/
SELECT cluster,
       node,
       avg(memory_usage) AS value,
       count(*) AS samples,
       max(memory_usage) AS highest
FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY cluster, node
