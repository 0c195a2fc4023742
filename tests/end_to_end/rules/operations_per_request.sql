/*
name: operations_per_request
title: Successful operations per request
tier: business
unit: ratio
owner: tests
key: [service]
levels: {warning: value < 0.1}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT coalesce(o.service, r.service) AS service, ratio(o.n, r.n) AS value, r.n AS samples
FROM (
  SELECT service, count(*) AS n FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  WHERE outcome = 'succeeded' GROUP BY service
) AS o
FULL JOIN (
  SELECT service, count(*) AS n FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY service
) AS r ON o.service = r.service
