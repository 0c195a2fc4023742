/*
name: history_in_judge_when
title: Judged by what was before
tier: network
unit: count
owner: platform
judge_when: usual >= 20
history:
  usual: expected(value)
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
