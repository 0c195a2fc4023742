/*
name: no_number_is_no_value
title: Logarithm of the fastest response
tier: network
unit: count
owner: platform
levels: {warning: value >= 0}
annotations:
  summary: "{{ service }}: {{ value }} and {{ negated }}"
  runbook_url: https://runbooks.example/no-number-is-no-value
*/
SELECT service,
       ln(min(duration_ms)) AS value,
       -1.0 * min(duration_ms) AS negated
FROM tumble(requests, event_time, INTERVAL '10 seconds')
GROUP BY service
