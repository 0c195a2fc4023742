/*
name: nested_exact_percentile
title: Processor usage that three quarters of the nodes keep below
tier: hardware
unit: ratio
owner: platform
levels: {warning: value > 0.8}
annotations:
  summary: "{{ cluster }}: {{ value | percent }}"
  runbook_url: https://runbooks.example/nested-exact-percentile
*/
SELECT cluster,
       percentile_cont(0.75) WITHIN GROUP (ORDER BY cpu_usage) AS value,
       count(*) AS nodes
FROM (
    SELECT cluster, node, avg(cpu_usage) AS cpu_usage
    FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
    GROUP BY cluster, node
) AS per_node
GROUP BY cluster
