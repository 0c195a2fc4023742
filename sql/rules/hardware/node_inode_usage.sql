/*
name: node_inode_usage
title: Inode usage of a node
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
  summary: "{{ cluster }}/{{ node }}: {{ value | percent }} of the inodes of {{ mountpoint or device }} are in use"
  description: >-
    Average of the node's own reports about the filesystem over the window.
    Without inodes no file can be made, however much space is left: look for masses of small files.
  runbook_url: https://runbooks.example/node-inode-usage
*/
SELECT cluster,
       node,
       device,
       mountpoint,
       avg(inode_usage) AS value,
       count(*) AS samples,
       max(inode_usage) AS highest
FROM hop(disk_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE inode_usage IS NOT NULL
GROUP BY cluster, node, device, mountpoint
