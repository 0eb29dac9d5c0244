-- Results, the job queue, and the plans behind short links.
--
-- Ids are UUIDs as text, times milliseconds since 1970-01-01T00:00:00Z, sizes bytes. A column that holds JSON holds the
-- contract's type of that name; what the pages filter and sort by has a column of its own.

CREATE TABLE machines (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    os           TEXT    NOT NULL,
    cpu          TEXT    NOT NULL, -- JSON: Cpu
    memory_bytes INTEGER NOT NULL,
    gpus         TEXT    NOT NULL  -- JSON: [GpuDevice]
) STRICT;

CREATE TABLE runners (
    id           TEXT    NOT NULL PRIMARY KEY,
    machine_id   TEXT    NOT NULL REFERENCES machines (id),
    registration TEXT    NOT NULL, -- JSON: Registration
    last_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL,
    sweep            TEXT    NOT NULL, -- JSON: Sweep
    device           TEXT    NOT NULL,
    runner_id        TEXT    REFERENCES runners (id),
    state            TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'finished', 'failed', 'cancelled')),
    held_by          TEXT,             -- name of the runner that holds or held it
    run_id           TEXT    REFERENCES runs (id),
    lease_id         TEXT    REFERENCES leases (id), -- the lease in force
    done             INTEGER NOT NULL DEFAULT 0,
    total            INTEGER NOT NULL,
    current          TEXT,
    phase            TEXT,
    eta_ms           INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    attempts         INTEGER NOT NULL DEFAULT 0, -- leases since a case last arrived
    error            TEXT,
    created_at       INTEGER NOT NULL,
    finished_at      INTEGER,
    CHECK ((state = 'running') = (lease_id IS NOT NULL))
) STRICT;

CREATE INDEX jobs_by_age ON jobs (created_at, id);
CREATE INDEX jobs_open ON jobs (state, created_at) WHERE state IN ('queued', 'running');

CREATE TABLE runs (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    job_id      TEXT    REFERENCES jobs (id),
    machine_id  TEXT    NOT NULL REFERENCES machines (id),
    sweep       TEXT    NOT NULL, -- JSON: Sweep
    fingerprint TEXT    NOT NULL, -- of the sweep
    runner      TEXT    NOT NULL, -- JSON: RunnerBuild
    status      TEXT    NOT NULL CHECK (status IN ('running', 'finished', 'cancelled')),
    origin      TEXT    NOT NULL CHECK (origin IN ('local', 'job', 'example')),
    cases_total INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

CREATE INDEX runs_by_age ON runs (started_at, id);
CREATE INDEX runs_by_job ON runs (job_id);
CREATE INDEX runs_open ON runs (fingerprint, machine_id) WHERE status = 'running';

-- Immutable: a case is written once, whole, and never changed.
CREATE TABLE cases (
    id                       TEXT    NOT NULL PRIMARY KEY,
    run_id                   TEXT    NOT NULL REFERENCES runs (id),
    position                 INTEGER NOT NULL,
    key                      TEXT    NOT NULL,
    model                    TEXT    NOT NULL,
    precision                TEXT    NOT NULL,
    spec                     TEXT    NOT NULL, -- JSON: CaseSpec
    engine                   TEXT    NOT NULL,
    plan                     TEXT,             -- JSON: Plan
    estimate                 TEXT,             -- JSON: Estimate
    status                   TEXT    NOT NULL
        CHECK (status IN ('ok', 'out-of-memory', 'crashed', 'refused', 'failed')),
    error                    TEXT,
    measurement              TEXT,             -- JSON: Measurement
    peak_bytes               INTEGER,          -- most bytes alive at once, over all phases
    decode_tokens_per_second REAL,             -- median over the repetitions, of the whole batch
    finished_at              INTEGER NOT NULL,
    UNIQUE (run_id, key)
) STRICT;

CREATE INDEX cases_by_age ON cases (finished_at, id);
CREATE INDEX cases_by_model ON cases (model, precision);

CREATE TRIGGER cases_are_immutable BEFORE UPDATE ON cases
BEGIN
    SELECT RAISE (ABORT, 'a measured case is never changed');
END;

-- Every hold that a runner had on a job; the one in force is named by the job.
CREATE TABLE leases (
    id         TEXT    NOT NULL PRIMARY KEY,
    job_id     TEXT    NOT NULL REFERENCES jobs (id),
    runner_id  TEXT    NOT NULL REFERENCES runners (id),
    run_id     TEXT    NOT NULL REFERENCES runs (id),
    granted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER,
    ended_by   TEXT CHECK (ended_by IN ('finished', 'failed', 'cancelled', 'released', 'expired', 'superseded')),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
) STRICT;

CREATE INDEX leases_by_job ON leases (job_id, granted_at);
CREATE INDEX leases_in_force ON leases (expires_at) WHERE ended_at IS NULL;

CREATE TABLE plans (
    id              TEXT    NOT NULL PRIMARY KEY,
    plan            TEXT    NOT NULL, -- JSON: Plan
    estimate        TEXT    NOT NULL, -- JSON: Estimate
    planner_version TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT;
