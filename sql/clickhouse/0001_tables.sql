-- The three tables that Tierwatch writes: readings, breaches and progress.
--
-- Rows reach ClickHouse at least once: an insert whose answer was lost is sent again, and after a restart a stretch
-- of the log is read again. Two things make "once" of it. A retry of the same insert carries the same
-- insert_deduplication_token and is dropped on arrival (non_replicated_deduplication_window keeps the last 10,000
-- tokens). Everything else is settled by ReplacingMergeTree: of rows with one sorting key the one with the greatest
-- version stays, whatever the order in which they came. version grows with the position in the log, so a
-- correction, which stands later in the log than what it corrects, wins.
--
-- Replaced rows are gone only after a merge, so read the views of 0002, or say FINAL.
--
-- Partitions are weeks of window_end. The partition is a function of the sorting key, so all copies of a row lie in
-- one partition and FINAL never has to merge across partitions. An insert is atomic for one block in one partition:
-- a block that spans two partitions becomes two parts, and a reader may see the first without the second. Weeks make
-- that rare, and the views hide it, since they show a window only once progress has passed it. Weeks rather than
-- days keep parts few (58 partitions in 400 days) and let a long catch-up stay far below
-- max_partitions_per_insert_block. Weeks rather than months let expiry drop whole parts without keeping any row
-- more than a week too long.

CREATE TABLE IF NOT EXISTS readings
(
    rule LowCardinality(String),
    rule_version String COMMENT 'What the rule consisted of when it was evaluated',
    rule_set String COMMENT 'The set of rules that was in force',
    tier LowCardinality(String) COMMENT 'network, hardware, data or business',
    kind LowCardinality(String) COMMENT 'technical or business',
    series String COMMENT 'The key columns as a canonical JSON object, such as {"service":"checkout"}',
    series_columns Map(String, String) COMMENT 'The same key columns, for filters: series_columns[''service'']',
    window_start DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    window_end DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Exclusive',
    slide_ms Int64 DEFAULT 0 COMMENT 'Distance between two window ends of the rule. 0: not said',
    value Nullable(Float64),
    samples Nullable(Int64),
    level LowCardinality(String) COMMENT 'healthy, warning or critical by the value alone. Empty: unjudged',
    state LowCardinality(String) COMMENT 'The level after for and keep_firing_for',
    unjudged LowCardinality(String) COMMENT 'Why there is no level. Empty: judged',
    partial Bool COMMENT 'The window began before the rule was being computed',
    corrected Bool DEFAULT false COMMENT 'Late events changed value and samples. Level and state did not follow',
    retracted Bool DEFAULT false COMMENT 'A correction took this reading away. The views hide it',
    measures Map(String, Float64) COMMENT 'Other numbers that the rule selects, such as numerator and denominator',
    labels Map(String, String) COMMENT 'Other text that the rule selects',
    unit LowCardinality(String),
    partition Int32 COMMENT 'The judge partition that the reading comes from',
    version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Position in the log. The greatest one counts',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toMonday(toDate(window_end))
ORDER BY (rule, series, window_end)
TTL toDateTime(window_end) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'What each rule says of each series at each window end, written at least once. Read readings_latest instead';

CREATE TABLE IF NOT EXISTS breaches
(
    event_id String COMMENT 'The same id that the alerts topic carries',
    episode_id String COMMENT 'One for all events from opening to resolution',
    type LowCardinality(String) COMMENT 'opened, escalated, deescalated, repeated, no_data or resolved',
    ordinal UInt32 COMMENT 'Place of the event in its episode',
    rule LowCardinality(String),
    rule_version String,
    title String,
    tier LowCardinality(String) COMMENT 'network, hardware, data or business',
    kind LowCardinality(String) COMMENT 'technical or business',
    owner LowCardinality(String),
    series String COMMENT 'The key columns as a canonical JSON object',
    series_columns Map(String, String),
    level LowCardinality(String) COMMENT 'The state that the event announces',
    previous_level LowCardinality(String),
    value Nullable(Float64),
    unit LowCardinality(String),
    limit_crossed String COMMENT 'The limit as the rule writes it',
    samples Nullable(Int64),
    window_start DateTime64(3, 'UTC'),
    window_end DateTime64(3, 'UTC') COMMENT 'Exclusive. The moment of the event in event time',
    since DateTime64(3, 'UTC') COMMENT 'Window end of the first reading at this level or worse',
    reason String,
    summary String,
    description String,
    runbook_url String,
    measures Map(String, Float64),
    labels Map(String, String),
    partition Int32 COMMENT 'The judge partition that the event comes from',
    version UInt64 COMMENT 'Position in the log. The greatest one counts',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toMonday(toDate(window_end))
ORDER BY (rule, series, window_end, event_id)
TTL toDateTime(window_end) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Breach events as published, written at least once. Read breach_events or breach_episodes instead';

-- How far each judge partition has evaluated each rule. A row is written after the readings that it speaks for.
-- partitions is part of the key: when a rule moves from one partition to many, or back, the rows of both layouts
-- stay, and what was whole under the old layout stays visible until the new one has caught up. No TTL: a rule that
-- was removed keeps its history visible.
CREATE TABLE IF NOT EXISTS progress
(
    rule LowCardinality(String),
    partitions Int32 COMMENT 'How many judge partitions evaluate the rule',
    partition Int32,
    watermark DateTime64(3, 'UTC') COMMENT 'Every window that ends here or earlier is written',
    version UInt64 COMMENT 'Position in the log. The greatest one counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (rule, partitions, partition)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'How far each judge partition has evaluated each rule. Decides which windows readings_latest shows';
