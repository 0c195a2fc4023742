/*
name: node_disk_usage
title: Disk space usage of a node
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
  summary: "{{ cluster }}/{{ node }}: {{ value | percent }} of {{ mountpoint or device }} is in use"
  description: >-
    Average of the node's own reports about the filesystem over the window.
    Devices without a filesystem are left out.
  runbook_url: https://runbooks.example/node-disk-usage
*/
SELECT cluster,
       node,
       device,
       mountpoint,
       avg(disk_usage) AS value,
       count(*) AS samples,
       max(disk_usage) AS highest
FROM hop(disk_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE disk_usage IS NOT NULL
GROUP BY cluster, node, device, mountpoint
