/*
name: times_out
tier: network
owner: platform
levels:
  warning:  value > 2
annotations:
  summary: "{{ service }}: {{ value | round }} since {{ began }}, the last at {{ last }}"
  runbook_url: https://runbooks.example/times-out
*/
SELECT service,
       window_start AS began,
       window_end AS ended,
       count(*) AS value,
       max(event_time) AS last
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service, window_start, window_end
