/*
name: shadow
tier: network
owner: platform
mode: shadow
levels:
  warning:  value >= 2 OR value = 0
annotations:
  summary: "{{ route }}"
  runbook_url: https://runbooks.example/shadow
*/
SELECT route,
       status_code,
       count(*) AS value,
       max(service) AS service
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY route, status_code
