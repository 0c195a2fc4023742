/*
name: cache_hit_ratio
title: Reads answered from the cache
tier: data
unit: ratio
owner: data-platform
labels: {signal: latency}
min_samples: 100                        # reads, not reports
levels:
  healthy:  value >= 0.90
  warning:  value >= 0.80 AND value < 0.90
  critical: value <  0.80
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: hold, after: 5m}
annotations:
  summary: "{{ cache }}: {{ value | percent }} of reads are answered from the cache"
  description: >-
    Hits against all reads, summed over the reports in the window; a report with more reads weighs more.
    A cache that was just emptied is below its limits until it is warm again.
  runbook_url: https://runbooks.example/cache-hit-ratio
*/
SELECT cache,
       ratio(sum(hits), sum(reads)) AS value,
       sum(reads) AS samples
FROM hop(cache_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY cache
