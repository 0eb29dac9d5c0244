-- Cases that the planner said would not fit were not run: a status of their own. A CHECK cannot be changed in place, so
-- the table is written anew, its rows as they are; nothing refers to it.
CREATE TABLE new_cases (
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
        CHECK (status IN ('ok', 'out-of-memory', 'crashed', 'refused', 'failed', 'predicted-out-of-memory')),
    error                    TEXT,
    measurement              TEXT,             -- JSON: Measurement
    peak_bytes               INTEGER,          -- most bytes alive at once, over all phases
    decode_tokens_per_second REAL,             -- median over the repetitions, of the whole batch
    finished_at              INTEGER NOT NULL,
    UNIQUE (run_id, key)
) STRICT;

INSERT INTO new_cases
SELECT id, run_id, position, key, model, precision, spec, engine, plan, estimate, status, error, measurement, peak_bytes,
       decode_tokens_per_second, finished_at
FROM cases;

DROP TABLE cases;
ALTER TABLE new_cases RENAME TO cases;

CREATE INDEX cases_by_age ON cases (finished_at, id);
CREATE INDEX cases_by_model ON cases (model, precision);

-- Attempts that were run again: each was the result of its case until the next attempt ended.
CREATE TABLE superseded_cases (
    id            TEXT    NOT NULL, -- of the case
    attempt       INTEGER NOT NULL, -- from 1
    run_id        TEXT    NOT NULL REFERENCES runs (id),
    document      TEXT    NOT NULL, -- JSON: Case
    superseded_at INTEGER NOT NULL,
    PRIMARY KEY (id, attempt)
) STRICT;

CREATE INDEX superseded_cases_by_run ON superseded_cases (run_id);

CREATE TRIGGER cases_are_immutable BEFORE UPDATE ON cases
BEGIN
    SELECT RAISE (ABORT, 'a measured case is never changed');
END;

-- A case goes only to make room for its next attempt, and never where it was measured.
CREATE TRIGGER cases_are_kept BEFORE DELETE ON cases
WHEN OLD.status IN ('ok', 'refused')
    OR NOT EXISTS (
        SELECT 1 FROM superseded_cases AS s
        WHERE s.id = OLD.id AND json_extract(s.document, '$.finished_at') = OLD.finished_at
    )
BEGIN
    SELECT RAISE (ABORT, 'a case is deleted only where it failed and its attempt is kept');
END;

CREATE TRIGGER superseded_cases_are_immutable BEFORE UPDATE ON superseded_cases
BEGIN
    SELECT RAISE (ABORT, 'an attempt is never changed');
END;
