/*
name: values_in_a_rule
title: Limits in the rule itself
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, load.n AS value, allowed
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS load
JOIN (VALUES ('checkout', 100), ('search', 500)) AS limits (service, allowed) USING (service)
