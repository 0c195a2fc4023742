-- What analysts read: no duplicates, no half-written windows, nothing that a correction took away.
--
-- Plain views rather than incremental materialised ones, which would count a replayed insert twice. Filters on rule
-- and series reach the tables through all of them, filters on window_end or day through those that read readings
-- and through breach_events.
--
-- FINAL is cheap here: every copy of a row lies in one partition, so ClickHouse does not merge across partitions
-- (26 decides that by itself; before, set do_not_merge_across_partitions_select_final = 1), and a week that has
-- been merged into one part needs no merging at all.

-- Readings, each once, of whole windows only. A window is whole once each of the n judge partitions that evaluate
-- its rule has progress at or past its end: so up to the n-th greatest watermark of the rule. Of several layouts of
-- a rule (one partition, then many) the one that has come furthest counts.
--
-- The order of the join matters twice.
--   progress comes first because the two sides are looked at in that order. A row of progress is written after the
--   readings that it speaks for, so readings looked at later hold all of them. The other way round, or with a scalar
--   subquery in WHERE, a window that is written in between shows half: rare, and seen in tests.
--   The LIMIT, which is above any number of rules, tells the planner that this side is the small one to build the
--   hash table from. Without it a filter on rule makes it build one from the readings.
CREATE OR REPLACE VIEW readings_latest AS
SELECT
    reading.* EXCEPT (retracted),
    whole.whole_until AS whole_until
FROM
(
    SELECT
        progress_rule,
        max(layout_until) AS whole_until
    FROM
    (
        SELECT
            rule AS progress_rule,
            arrayReverseSort(groupArray(watermark))[partitions] AS layout_until
        FROM progress FINAL
        GROUP BY rule, partitions
    )
    GROUP BY progress_rule
    LIMIT 100000
) AS whole
INNER JOIN
(
    SELECT *
    FROM readings FINAL
    WHERE NOT retracted
) AS reading ON reading.rule = whole.progress_rule
WHERE reading.window_end <= whole.whole_until;

-- Windows that do not overlap, for sums: adding up readings_latest counts an event once per window that it lies in,
-- this counts it once. Of overlapping windows those stay whose end is a multiple of their length. Windows that do not
-- overlap to begin with (slide as long as the window, or longer) all stay. Where the length is not a multiple of the
-- slide no choice of windows covers all time once, so such a rule has no rows here.
-- Sum measures (numerator, denominator) and samples, and divide the sums. Do not average ratios or percentiles.
CREATE OR REPLACE VIEW readings_tumbling AS
WITH
    toUnixTimestamp64Milli(window_end) AS end_ms,
    end_ms - toUnixTimestamp64Milli(window_start) AS size_ms
SELECT *
FROM readings_latest
WHERE slide_ms >= size_ms
   OR (size_ms % greatest(slide_ms, 1) = 0 AND end_ms % greatest(size_ms, 1) = 0);

-- Breach events, each once, as they were published.
CREATE OR REPLACE VIEW breach_events AS
SELECT *
FROM breaches FINAL;

-- One row per episode. Times are event time. An episode without a resolved event is open: resolved_at and
-- duration_seconds are NULL. value_* are over the values of the episode's events, not over all its readings: for
-- those, join readings_latest on rule and series where window_end lies between opened_at and resolved_at.
CREATE OR REPLACE VIEW breach_episodes AS
SELECT
    episode_id,
    b.rule AS rule,
    argMin(b.rule_version, b.ordinal) AS rule_version,
    argMax(b.title, b.ordinal) AS title,
    argMin(b.tier, b.ordinal) AS tier,
    argMin(b.kind, b.ordinal) AS kind,
    argMax(b.owner, b.ordinal) AS owner,
    b.series AS series,
    argMin(b.series_columns, b.ordinal) AS series_columns,
    argMin(b.unit, b.ordinal) AS unit,
    min(b.window_end) AS opened_at,
    minOrNullIf(b.window_end, b.type = 'resolved') AS resolved_at,
    dateDiff('millisecond', opened_at, resolved_at) / 1000 AS duration_seconds,
    multiIf(
        countIf(b.level = 'critical') > 0, 'critical',
        countIf(b.level = 'warning') > 0, 'warning',
        argMin(b.level, b.ordinal)) AS worst_level,
    argMax(b.level, b.ordinal) AS last_level,
    count() AS events,
    countIf(b.type = 'escalated') AS escalations,
    countIf(b.type = 'deescalated') AS deescalations,
    countIf(b.type = 'repeated') AS repeats,
    countIf(b.type = 'no_data') AS silences,
    argMin(tuple(b.value), b.ordinal).1 AS value_opened,
    argMax(tuple(b.value), b.ordinal).1 AS value_last,
    min(b.value) AS value_min,
    max(b.value) AS value_max,
    avg(b.value) AS value_mean,
    argMin(b.limit_crossed, b.ordinal) AS limit_crossed,
    argMin(b.summary, b.ordinal) AS summary,
    argMax(b.reason, b.ordinal) AS last_reason,
    argMax(b.runbook_url, b.ordinal) AS runbook_url
FROM breach_events AS b
GROUP BY rule, series, episode_id;

-- Seconds that each series spent in each state, per day (UTC).
--   A reading answers for the time from its window end to that of the next reading of its series: that is one slide
--   where nothing is missing. It answers for no longer than its window is long (or one slide, if that is longer): a
--   series without a reading for a whole window has fallen silent, and nobody knows its state. It answers neither
--   past midnight nor past the time up to which windows are whole, so that a day stands by itself and a filter on
--   day reads that day only. Nothing is lost at midnight, since windows end there for every slide that divides a day.
--   What follows a reading that no reading answers for is silent_seconds. The time before a series' first reading
--   of the day is counted nowhere.
--   unknown_seconds belong to readings without a state.
CREATE OR REPLACE VIEW time_in_level AS
SELECT
    rule,
    any(tier) AS tier,
    any(kind) AS kind,
    series,
    any(series_columns) AS series_columns,
    day,
    count() AS readings,
    sumIf(answered_ms, state = 'healthy') / 1000 AS healthy_seconds,
    sumIf(answered_ms, state = 'warning') / 1000 AS warning_seconds,
    sumIf(answered_ms, state = 'critical') / 1000 AS critical_seconds,
    sumIf(answered_ms, state NOT IN ('healthy', 'warning', 'critical')) / 1000 AS unknown_seconds,
    sum(elapsed_ms - answered_ms) / 1000 AS silent_seconds
FROM
(
    SELECT
        *,
        if(next_ms > 0, next_ms, least(whole_ms, midnight_ms)) - end_ms AS elapsed_ms,
        least(elapsed_ms, longest_ms) AS answered_ms
    FROM
    (
        SELECT
            rule,
            tier,
            kind,
            series,
            series_columns,
            state,
            toDate(window_end) AS day,
            toUnixTimestamp64Milli(window_end) AS end_ms,
            toUnixTimestamp64Milli(whole_until) AS whole_ms,
            toUnixTimestamp64Milli(toDateTime64(day + 1, 3, 'UTC')) AS midnight_ms,
            greatest(end_ms - toUnixTimestamp64Milli(window_start), slide_ms) AS longest_ms,
            leadInFrame(end_ms) OVER (
                PARTITION BY rule, series, day
                ORDER BY window_end
                ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING) AS next_ms
        FROM readings_latest
    )
)
GROUP BY rule, series, day;

-- How long breaches took to resolve, per rule and day (UTC) of resolution. By resolution rather than by opening, so
-- that a day's figures are final: by opening, the long ones would be missing until they end. Means do not add up:
-- over several days or rules take sum(resolve_seconds_total) / sum(resolved).
CREATE OR REPLACE VIEW mean_time_to_resolve AS
SELECT
    rule,
    any(e.tier) AS tier,
    any(e.kind) AS kind,
    toDate(assumeNotNull(e.resolved_at)) AS day,
    count() AS resolved,
    countIf(e.worst_level = 'critical') AS resolved_critical,
    sum(assumeNotNull(e.duration_seconds)) AS resolve_seconds_total,
    resolve_seconds_total / resolved AS resolve_seconds_mean,
    quantileExact(0.5)(assumeNotNull(e.duration_seconds)) AS resolve_seconds_median,
    max(assumeNotNull(e.duration_seconds)) AS resolve_seconds_max
FROM breach_episodes AS e
WHERE e.resolved_at IS NOT NULL
GROUP BY rule, day;

-- The same per week. A week is named by its Monday.
CREATE OR REPLACE VIEW mean_time_to_resolve_weekly AS
SELECT
    rule,
    any(e.tier) AS tier,
    any(e.kind) AS kind,
    toMonday(toDate(assumeNotNull(e.resolved_at))) AS week,
    count() AS resolved,
    countIf(e.worst_level = 'critical') AS resolved_critical,
    sum(assumeNotNull(e.duration_seconds)) AS resolve_seconds_total,
    resolve_seconds_total / resolved AS resolve_seconds_mean,
    quantileExact(0.5)(assumeNotNull(e.duration_seconds)) AS resolve_seconds_median,
    max(assumeNotNull(e.duration_seconds)) AS resolve_seconds_max
FROM breach_episodes AS e
WHERE e.resolved_at IS NOT NULL
GROUP BY rule, week;
