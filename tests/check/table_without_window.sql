/*
name: table_without_window
title: A table without a window
tier: network
unit: count
owner: platform
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, count(*) AS value
FROM requests
GROUP BY service
