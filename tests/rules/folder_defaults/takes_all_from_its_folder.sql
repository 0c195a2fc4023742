/*
name: takes_all_from_its_folder
title: A rule that leaves everything to its folder
tier: network
unit: ms
levels: {warning: value > 100}
annotations:
  summary: "{{ service }}: {{ value }} ms"
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
