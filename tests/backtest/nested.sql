/*
name: nested
tier: hardware
owner: platform
levels:
  healthy:  value < 0.65
  warning:  value >= 0.65 AND value <= 0.80
  critical: value > 0.85
annotations:
  summary: "{{ cluster }}: half of {{ nodes }} nodes use at most {{ value | percent }}"
  runbook_url: https://runbooks.example/nested
*/
SELECT cluster,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu_usage) AS value,
       sum(reports) AS samples,
       count(*) AS nodes,
       max(cpu_usage) AS busiest
FROM (
    SELECT cluster, node, avg(cpu_usage) AS cpu_usage, count(*) AS reports
    FROM hop(node_metrics, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY cluster, node
) AS per_node
GROUP BY cluster
