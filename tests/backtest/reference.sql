/*
name: reference
tier: network
owner: platform
key: [service]
levels:
  warning:  value > tested_rps / 4000 AND value <= tested_rps / 2000
  critical: value > tested_rps / 2000
annotations:
  summary: "{{ service }} of {{ team }}: {{ value }} a second, tested with {{ tested_rps }}"
  runbook_url: https://runbooks.example/reference
*/
SELECT load.service,
       requests / seconds AS value,
       requests AS samples,
       tested_rps,
       owner AS team
FROM (
    SELECT service, count(*) AS requests, window_seconds AS seconds
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS load
LEFT JOIN tested_capacity ON tested_capacity.service = load.service
LEFT JOIN services ON services.service = load.service
