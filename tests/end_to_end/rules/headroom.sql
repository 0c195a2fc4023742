/*
name: headroom
title: Requests against tested capacity
tier: network
unit: ratio
owner: tests
key: [service]
levels: {warning: value > 0.001}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT r.service, ratio(r.n / window_seconds, c.tested_rps) AS value, r.n AS samples
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY service
) AS r
JOIN tested_capacity AS c ON c.service = r.service
