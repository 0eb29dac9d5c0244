-- A run that was stopped is gone on with as well as one whose program died, so the index holds both.
DROP INDEX runs_open;
CREATE INDEX runs_by_sweep ON runs (fingerprint, machine_id);
