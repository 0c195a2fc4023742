/*
name: demo_node_cpu
title: CPU usage of a node
tier: hardware
unit: ratio
owner: platform
levels:
  healthy:  value < 0.65
  warning:  value >= 0.65 AND value <= 0.80
  critical: value > 0.85
for: 2s
annotations:
  summary: "{{ node }} in {{ cluster }}: {{ value | percent }} CPU"
  runbook_url: https://runbooks.example/node-cpu
*/
SELECT node,
       max(cluster) AS cluster,
       avg(cpu_usage) AS value,
       count(*) AS samples
FROM hop(node_metrics, event_time, INTERVAL '1 second', INTERVAL '5 seconds')
GROUP BY node
