/*
name: db_connection_usage
title: Connections of a database server in use
tier: data
unit: ratio
owner: data-platform
labels: {signal: saturation}
min_samples: 3
levels:                                 # between 0.80 and 0.90 the present level holds
  healthy:  value <= 0.60
  warning:  value >  0.60 AND value <= 0.80
  critical: value >  0.90
for: {warning: 5m, critical: 1m}
keep_firing_for: 2m
no_data: {as: critical, after: 5m}      # a server that is full or down may be unable to report
annotations:
  summary: >-
    {{ database }}/{{ server }}: {% if value is none %}reports no connections
    {%- else %}{{ value | percent }} of the connections are in use{% endif %}
  description: >-
    Connections in use against those allowed, over the reports of one server: the primary or a replica.
    Each server has a limit of its own, so an idle replica does not hide a full primary.
  runbook_url: https://runbooks.example/db-connection-usage
*/
SELECT database,
       coalesce(replica, 'primary') AS server,
       ratio(sum(connections_used), sum(connections_max)) AS value,
       count(*) AS samples,
       max(connections_used) AS most_used
FROM hop(database_metrics, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE connections_used IS NOT NULL
  AND connections_max IS NOT NULL
GROUP BY database, coalesce(replica, 'primary')
