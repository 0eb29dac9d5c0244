-- What pages of a million cases read: cases of a run by their place, sums of runs, and what a case was asked.

CREATE INDEX cases_by_run ON cases (run_id, position, key);
CREATE INDEX runs_of_examples ON runs (origin) WHERE origin = 'example';

ALTER TABLE case_lines ADD COLUMN task TEXT NOT NULL DEFAULT 'inference'; -- 'inference', 'training', 'embedding'
ALTER TABLE case_lines ADD COLUMN training TEXT; -- what is trained and how, as in the case's key: 'train:lora8:adamw'

UPDATE case_lines
SET task = CASE WHEN c.spec ->> '$.training' IS NULL THEN 'embedding' ELSE 'training' END,
    -- A name has no spaces, and stands between two.
    training = CASE
        WHEN c.spec ->> '$.training' IS NOT NULL
        THEN substr (c.key, instr (c.key, ' train:') + 1,
                     instr (substr (c.key, instr (c.key, ' train:') + 1) || ' ', ' ') - 1)
    END
FROM cases c
WHERE c.id = case_lines.case_id
    AND (c.spec ->> '$.training' IS NOT NULL OR c.plan ->> '$.workload.kind' = 'embed');

-- What the cases of a run come to, kept with every line that is written.
CREATE TABLE run_figures (
    run_id       TEXT    NOT NULL PRIMARY KEY REFERENCES runs (id),
    done         INTEGER NOT NULL,
    ok           INTEGER NOT NULL,
    best_decode  REAL,
    largest_peak INTEGER,
    newest       INTEGER NOT NULL -- number of the newest line: what was made of the run is as new as that
) STRICT, WITHOUT ROWID;

CREATE INDEX case_lines_by_run ON case_lines (run_id, status, decode_tokens_per_second, peak_bytes);

INSERT INTO run_figures
SELECT run_id, COUNT (*), SUM (status = 'ok'), MAX (decode_tokens_per_second), MAX (peak_bytes), MAX (n)
FROM case_lines GROUP BY run_id;

CREATE TRIGGER run_figures_of_new_lines AFTER INSERT ON case_lines
BEGIN
    INSERT INTO run_figures
    VALUES (NEW.run_id, 1, NEW.status = 'ok', NEW.decode_tokens_per_second, NEW.peak_bytes, NEW.n)
    ON CONFLICT (run_id) DO UPDATE SET
        done = done + 1,
        ok = ok + excluded.ok,
        best_decode = MAX (COALESCE (best_decode, excluded.best_decode), COALESCE (excluded.best_decode, best_decode)),
        largest_peak = MAX (COALESCE (largest_peak, excluded.largest_peak), COALESCE (excluded.largest_peak, largest_peak)),
        newest = excluded.newest;
END;

-- A case goes where another attempt takes its place.
CREATE TRIGGER run_figures_of_old_lines AFTER DELETE ON case_lines
BEGIN
    UPDATE run_figures
    SET (done, ok, best_decode, largest_peak) = (
        SELECT COUNT (*), COALESCE (SUM (status = 'ok'), 0), MAX (decode_tokens_per_second), MAX (peak_bytes)
        FROM case_lines WHERE run_id = OLD.run_id)
    WHERE run_id = OLD.run_id;
END;
