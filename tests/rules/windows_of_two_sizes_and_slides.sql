/*
name: windows_of_two_sizes_and_slides
title: Requests of 20 seconds against those of 30
tier: network
unit: x
owner: platform
key: [service]
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value | round(2) }}"
  runbook_url: https://runbooks.example/windows-of-two-sizes-and-slides
*/
SELECT service,
       ratio(short.requests, long.requests) AS value,
       long.ended AS long_ended
FROM (
    SELECT service, count(*) AS requests
    FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '20 seconds')
    GROUP BY service
) AS short
JOIN (
    SELECT service, count(*) AS requests, window_end AS ended
    FROM hop(requests, event_time, INTERVAL '30 seconds', INTERVAL '30 seconds')
    GROUP BY service
) AS long USING (service)
