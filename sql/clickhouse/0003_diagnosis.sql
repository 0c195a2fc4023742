-- What is behind a breach, as its events carry it: who the offending events belong to, and traces to look at.

ALTER TABLE breaches
    ADD COLUMN IF NOT EXISTS offending Nullable(Int64) COMMENT 'How many events of the window count against the rule' AFTER runbook_url,
    ADD COLUMN IF NOT EXISTS contributors String DEFAULT '[]' COMMENT 'The values that most of them have: JSON, objects of column, value, share and change' AFTER offending,
    ADD COLUMN IF NOT EXISTS trace_ids Array(String) COMMENT 'Traces of some of them' AFTER contributors;

-- A view has the columns that it was made with.
CREATE OR REPLACE VIEW breach_events AS
SELECT *
FROM breaches FINAL;
