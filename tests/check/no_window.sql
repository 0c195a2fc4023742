/*
name: no_window
title: A reference table alone
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
SELECT service, tested_rps AS value FROM tested_capacity
