-- Three roles, each with the least that it needs. Not a migration: making roles takes rights that the user who
-- migrates should not have, and roles belong to the server, not to one database. An administrator runs this file once
-- per database, after `tierwatch migrate`, with that database as the current one, and again whenever it changes:
--
--   clickhouse-client --database tierwatch --multiquery < deploy/clickhouse/roles.sql
--
-- Then give the roles to users:
--
--   CREATE USER ada IDENTIFIED BY '…'
--   GRANT tierwatch_analyst TO ada
--
-- `ON *` is every table and view of the current database.

-- Analysts: read everything, change nothing. The views run with the rights of whoever asks, so the tables below them
-- are included.
CREATE ROLE IF NOT EXISTS tierwatch_analyst;
GRANT SELECT ON * TO tierwatch_analyst;

-- readonly = 2 forbids every change but still lets tools choose their own formats and time zones. The limits keep one
-- heavy question from starving the inserts. A session may raise them up to MAX.
CREATE SETTINGS PROFILE IF NOT EXISTS tierwatch_analyst
    SETTINGS
        readonly = 2,
        max_execution_time = 120 MAX 600,
        max_memory_usage = 4000000000 MAX 8000000000
    TO tierwatch_analyst;

-- The store stage of `tierwatch run`: adds rows, and reads to check columns and applied migrations.
CREATE ROLE IF NOT EXISTS tierwatch_writer;
GRANT SELECT ON * TO tierwatch_writer;
GRANT INSERT ON readings TO tierwatch_writer;
GRANT INSERT ON breaches TO tierwatch_writer;
GRANT INSERT ON progress TO tierwatch_writer;

-- `tierwatch migrate`: makes and changes tables and views, and records what it applied.
CREATE ROLE IF NOT EXISTS tierwatch_migrator;
GRANT SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON * TO tierwatch_migrator;
