/*
name: reference
tier: network
owner: platform
key: [service]
levels:
  warning:  rps > tested_rps / 4000 AND rps <= tested_rps / 2000
  critical: rps > tested_rps / 2000
annotations:
  summary: "{{ service }} of {{ team }}: {{ rps }} a second, tested with {{ tested_rps }}"
  runbook_url: https://runbooks.example/reference
*/
SELECT service,
       rps / tested_rps AS value,
       requests AS samples,
       rps,
       tested_rps,
       owner AS team
FROM (
    SELECT service, count(*) AS requests, count(*) / window_seconds AS rps
    FROM tumble(requests, event_time, INTERVAL '10 seconds')
    GROUP BY service
) AS load
JOIN tested_capacity USING (service)
JOIN services USING (service)
