/*
name: size_is_no_multiple_of_slide
title: Requests in windows of two and a half slides
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} requests"
  runbook_url: https://runbooks.example/size-is-no-multiple-of-slide
*/
SELECT service,
       count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '25 seconds')
GROUP BY service
