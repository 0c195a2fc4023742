/*
name: template_loops
title: A template that never ends
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{% for a in range(99999) %}x{% endfor %}{{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
