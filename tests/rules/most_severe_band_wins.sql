/*
name: most_severe_band_wins
title: Bands that overlap
tier: network
unit: ms
owner: platform
levels: {warning: value > 100, critical: value > 200}
annotations:
  summary: "{{ service }}: {{ value }} ms"
  runbook_url: https://runbooks.example/most-severe-band-wins
*/
SELECT service,
       max(duration_ms) AS value
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
