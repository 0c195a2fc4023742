/*
name: window_shorter_than_two_reports
title: A window that may be empty between two reports
tier: data
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ queue }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT queue, max(depth) AS value
FROM tumble(queue_metrics, event_time, INTERVAL '10 seconds')
GROUP BY queue
