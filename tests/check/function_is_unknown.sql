/*
name: function_is_unknown
tier: network
owner: platform
levels: {warning: value > 5}
annotations:
  summary: "{{ service }}: {{ value }}"
  runbook_url: https://runbooks.example/function-is-unknown
*/
SELECT service,
       cuont(*) AS value
FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
GROUP BY service
