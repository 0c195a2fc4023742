/*
name: node_disk_latency_p95
title: Disk latency that 95% of disks keep below
tier: hardware
unit: ms
owner: infrastructure
labels: {signal: latency}
min_samples: 3
levels:                                 # between 20 and 50 the present level holds
  healthy:  value <= 5
  warning:  value >  5 AND value <= 20
  critical: value > 50
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
diagnose: {where: disk_latency_ms > 5, by: [node, device], top: 5}
annotations:
  summary: "{{ cluster }}: 95% of {{ disks }} disks answer within {{ value | round(1) }} ms"
  description: >-
    Average over the window for each disk of each node, then the exact 95th percentile over the disks of the cluster.
    One slow disk in a large cluster does not move it; where it moves, look at the storage that the nodes share.
  runbook_url: https://runbooks.example/node-disk-latency-p95
*/
SELECT cluster,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY disk_latency_ms) AS value,
       sum(reports) AS samples,
       count(*) AS disks,
       max(disk_latency_ms) AS slowest_ms
FROM (
    SELECT cluster,
           node,
           device,
           avg(disk_latency_ms) AS disk_latency_ms,
           count(*) AS reports
    FROM hop(disk_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
    WHERE disk_latency_ms IS NOT NULL
    GROUP BY cluster, node, device
) AS per_disk
GROUP BY cluster
