/*
name: burn
title: Errors over a short and a long window
tier: business
unit: x
owner: tests
key: [service]
levels: {warning: value > 0.05}
annotations: {summary: "{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT short.service, least(short.failed, long.failed) AS value, short.n AS samples, long.n AS samples_long
FROM (
  SELECT service, ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failed, count(*) AS n
  FROM hop(business_operations, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY service
) AS short
JOIN (
  SELECT service, ratio(count(*) FILTER (WHERE outcome = 'failed'), count(*)) AS failed, count(*) AS n
  FROM hop(business_operations, event_time, INTERVAL '20 seconds', INTERVAL '3 minutes') GROUP BY service
) AS long ON long.service = short.service
