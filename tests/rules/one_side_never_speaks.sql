/*
name: one_side_never_speaks
title: Slow services, and whether their operations fail
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 0}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/one-side-never-speaks
*/
SELECT latency.service,
       latency.slow AS value,
       coalesce(failures.failed, 0) AS failed
FROM (
    SELECT service, count(*) FILTER (WHERE level <> 'healthy') AS slow
    FROM hop(rule.read_a, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS latency
LEFT JOIN (
    SELECT service, sum(value) AS failed
    FROM hop(rule.read_b, window_end, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS failures USING (service)
