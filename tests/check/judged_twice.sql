/*
name: judged_twice
title: Two ways to say what is judged
tier: network
unit: count
owner: platform
min_samples: 20
judge_when: value > 5
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
