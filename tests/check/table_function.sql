/*
name: table_function
title: Rows out of a function
tier: network
unit: count
owner: platform
key: [service, number]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, load.n AS value, numbers.value AS number
FROM (
  SELECT service, count(*) AS n
  FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
  GROUP BY service
) AS load
JOIN generate_series(1, 1000000000) AS numbers ON numbers.value = load.n
