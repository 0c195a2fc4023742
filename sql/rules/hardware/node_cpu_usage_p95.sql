/*
name: node_cpu_usage_p95
title: Processor usage that 95% of nodes keep below
tier: hardware
unit: ratio
owner: infrastructure
labels: {signal: saturation}
min_samples: 3
levels:                                 # between 0.80 and 0.85 the present level holds
  healthy:  value <  0.65
  warning:  value >= 0.65 AND value <= 0.80
  critical: value >  0.85
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
diagnose: {where: cpu_usage > 0.65, by: [node], top: 5}
annotations:
  summary: "{{ cluster }}: 95% of {{ nodes }} nodes use at most {{ value | percent }} of their processors"
  description: >-
    Average over the window for each node, then the exact 95th percentile over the nodes of the cluster.
    One busy node in a large cluster does not move it.
  runbook_url: https://runbooks.example/node-cpu-usage-p95
*/
SELECT cluster,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY cpu_usage) AS value,
       sum(reports) AS samples,
       count(*) AS nodes,
       max(cpu_usage) AS busiest
FROM (
    SELECT cluster,
           node,
           avg(cpu_usage) AS cpu_usage,
           count(*) AS reports
    FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    GROUP BY cluster, node
) AS per_node
GROUP BY cluster
