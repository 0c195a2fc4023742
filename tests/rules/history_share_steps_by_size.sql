/*
name: history_share_steps_by_size
title: Share of windows with an error
tier: network
unit: ms
owner: platform
history:
  failing: share(value > 0, INTERVAL '30 seconds')
levels: {warning: failing > 0.5}
annotations:
  summary: "{{ service }}: {{ failing | percent }}"
  runbook_url: https://runbooks.example/history-share-steps-by-size
*/
SELECT service,
       count(*) FILTER (WHERE status_code >= 500) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '30 seconds')
GROUP BY service
