/*
name: query_that_doubles
title: Queries that each read the one before twice
tier: network
unit: count
owner: platform
key: [service]
levels: {warning: value > 100}
annotations: {summary: "{{ service }}: {{ value }}", runbook_url: "https://runbooks.example/x"}
*/
WITH a0 AS (SELECT service, count(*) AS n FROM hop(requests, event_time, INTERVAL '10 seconds', INTERVAL '1 minute') GROUP BY service),
a1 AS (SELECT x.service, x.n + y.n AS n FROM a0 AS x JOIN a0 AS y USING (service)),
a2 AS (SELECT x.service, x.n + y.n AS n FROM a1 AS x JOIN a1 AS y USING (service)),
a3 AS (SELECT x.service, x.n + y.n AS n FROM a2 AS x JOIN a2 AS y USING (service)),
a4 AS (SELECT x.service, x.n + y.n AS n FROM a3 AS x JOIN a3 AS y USING (service)),
a5 AS (SELECT x.service, x.n + y.n AS n FROM a4 AS x JOIN a4 AS y USING (service)),
a6 AS (SELECT x.service, x.n + y.n AS n FROM a5 AS x JOIN a5 AS y USING (service)),
a7 AS (SELECT x.service, x.n + y.n AS n FROM a6 AS x JOIN a6 AS y USING (service)),
a8 AS (SELECT x.service, x.n + y.n AS n FROM a7 AS x JOIN a7 AS y USING (service)),
a9 AS (SELECT x.service, x.n + y.n AS n FROM a8 AS x JOIN a8 AS y USING (service)),
a10 AS (SELECT x.service, x.n + y.n AS n FROM a9 AS x JOIN a9 AS y USING (service)),
a11 AS (SELECT x.service, x.n + y.n AS n FROM a10 AS x JOIN a10 AS y USING (service))
SELECT service, n AS value FROM a11
