/*
name: node_cpu
title: CPU in 95% of nodes
tier: hardware
unit: ratio
owner: tests
levels: {warning: value > 0.65, critical: value > 0.85}
for: 10s
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT cluster, percentile_cont(0.95) WITHIN GROUP (ORDER BY cpu) AS value, sum(n) AS samples
FROM (
  SELECT cluster, node, avg(cpu_usage) AS cpu, count(*) AS n
  FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY cluster, node
) AS nodes
GROUP BY cluster
