/*
name: divisor_may_be_zero
title: A quotient of two sums
tier: network
unit: ratio
owner: platform
key: [service]
levels: {warning: value > 0.5}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, failing_ms / total_ms AS value
FROM (
  SELECT service, sum(duration_ms) FILTER (WHERE status_code >= 500) AS failing_ms, sum(duration_ms) AS total_ms
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS sums
