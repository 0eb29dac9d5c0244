-- Lists of cases that people keep by a name: what stands in the address of the page.

CREATE TABLE views (
    name     TEXT    NOT NULL PRIMARY KEY,
    query    TEXT    NOT NULL, -- the address's pairs, without the question mark
    saved_at INTEGER NOT NULL
) STRICT;
