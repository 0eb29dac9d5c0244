-- A case on one line: what the lists filter and sort by, without the documents. Programs read it from the start and then
-- what is new, by n.

CREATE TABLE case_lines (
    n                         INTEGER NOT NULL PRIMARY KEY, -- grows with every case
    case_id                   TEXT    NOT NULL UNIQUE REFERENCES cases (id) ON DELETE CASCADE,
    run_id                    TEXT    NOT NULL,
    machine_id                TEXT    NOT NULL,
    model                     TEXT    NOT NULL,
    precision                 TEXT    NOT NULL,
    attention                 TEXT    NOT NULL, -- as the command line spells it; 'default': the engine's own
    variant                   TEXT    NOT NULL, -- likewise
    cache                     TEXT    NOT NULL,
    kv_cache                  TEXT    NOT NULL,
    engine                    TEXT    NOT NULL,
    device                    TEXT    NOT NULL, -- product name of the processor or GPU
    status                    TEXT    NOT NULL,
    batch                     INTEGER NOT NULL,
    prompt_tokens             INTEGER NOT NULL,
    generate_tokens           INTEGER NOT NULL,
    decode_tokens_per_second  REAL,             -- medians over the repetitions, of the whole batch
    prefill_tokens_per_second REAL,
    ttft_ms                   REAL,
    peak_bytes                INTEGER,
    estimated_bytes           INTEGER,          -- what the planner said of the peak
    finished_at               INTEGER NOT NULL
) STRICT;

-- The same case at other times, on other machines and commits.
CREATE INDEX cases_by_key ON cases (key, finished_at);

INSERT INTO case_lines (case_id, run_id, machine_id, model, precision, attention, variant, cache, kv_cache, engine, device,
                        status, batch, prompt_tokens, generate_tokens, decode_tokens_per_second,
                        prefill_tokens_per_second, ttft_ms, peak_bytes, estimated_bytes, finished_at)
SELECT c.id, c.run_id, r.machine_id, c.model, c.precision,
       CASE c.spec ->> '$.attention.kind'
           WHEN 'sliding-window' THEN 'sliding-window:' || (c.spec ->> '$.attention.window')
           WHEN 'longformer' THEN 'longformer:' || (c.spec ->> '$.attention.window') || ':'
               || (c.spec ->> '$.attention.global_tokens')
           WHEN 'big-bird' THEN 'big-bird:' || (c.spec ->> '$.attention.block') || ':'
               || (c.spec ->> '$.attention.window_blocks') || ':' || (c.spec ->> '$.attention.global_blocks') || ':'
               || (c.spec ->> '$.attention.random_blocks')
           ELSE COALESCE (c.spec ->> '$.attention.kind', 'default')
       END,
       COALESCE (c.spec ->> '$.variant', 'default'),
       COALESCE (c.spec ->> '$.cache', 'default'),
       COALESCE (c.spec ->> '$.kv_cache', 'default'),
       c.engine,
       CASE c.spec ->> '$.device'
           WHEN 'cpu' THEN m.cpu ->> '$.model'
           ELSE COALESCE (m.gpus ->> ('$[' || substr (c.spec ->> '$.device', 6) || '].name'), c.spec ->> '$.device')
       END,
       c.status, c.spec ->> '$.batch', c.spec ->> '$.prompt_tokens', c.spec ->> '$.generate_tokens',
       c.decode_tokens_per_second,
       (SELECT AVG (rate)
        FROM (SELECT rate, ROW_NUMBER () OVER (ORDER BY rate) AS place, COUNT (*) OVER () AS samples
              FROM (SELECT (c.spec ->> '$.batch') * (c.spec ->> '$.prompt_tokens') * 1e3 / (s.value ->> '$.prefill_ms')
                               AS rate
                    FROM json_each (c.measurement, '$.samples') AS s
                    WHERE s.value ->> '$.prefill_ms' > 0))
        WHERE place IN ((samples + 1) / 2, (samples + 2) / 2)),
       (SELECT AVG (ms)
        FROM (SELECT s.value ->> '$.ttft_ms' AS ms, ROW_NUMBER () OVER (ORDER BY s.value ->> '$.ttft_ms') AS place,
                     COUNT (*) OVER () AS samples
              FROM json_each (c.measurement, '$.samples') AS s)
        WHERE place IN ((samples + 1) / 2, (samples + 2) / 2)),
       c.peak_bytes, c.estimate ->> '$.totals.allocated', c.finished_at
FROM cases c JOIN runs r ON r.id = c.run_id JOIN machines m ON m.id = r.machine_id
ORDER BY c.finished_at, c.id;
