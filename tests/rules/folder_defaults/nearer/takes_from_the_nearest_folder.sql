/*
name: takes_from_the_nearest_folder
title: A rule in a folder of a folder
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
