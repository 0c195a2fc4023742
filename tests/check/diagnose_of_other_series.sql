/*
name: diagnose_of_other_series
title: Events that do not know their series
tier: network
unit: count
owner: platform
diagnose: {by: [route]}
levels: {warning: value > 100}
annotations: {summary: "{{ owner }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT owner, sum(n) AS value
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS load
JOIN services USING (service)
GROUP BY owner
