/*
name: window_long_ago
title: Requests against those of 20 seconds ago
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests more"
  runbook_url: https://runbooks.example/window-long-ago
*/
SELECT service,
       recent.requests - before.requests AS value,
       recent.requests AS requests_now,
       before.requests AS requests_then,
       before.began AS began_then,
       before.ended AS ended_then
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '10 seconds')
    GROUP BY service
) AS recent
JOIN (
    SELECT service, count(*) AS requests, window_start AS began, window_end AS ended
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '10 seconds', ago => INTERVAL '20 seconds')
    GROUP BY service
) AS before USING (service)
