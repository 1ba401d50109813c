-- The platform's store, schema 1. One transaction: there is all of it, or none.
-- Instants are UTC, ISO 8601. A change of this file takes the next user_version and a migration.

BEGIN IMMEDIATE;

PRAGMA application_id = 0x686F7062;  -- "hopb"
PRAGMA user_version = 1;

CREATE TABLE revision (
    component  TEXT    NOT NULL,
    number     INTEGER NOT NULL CHECK (number >= 1),
    digest     TEXT    NOT NULL CHECK (length(digest) = 64),
    created_at TEXT    NOT NULL,
    PRIMARY KEY (component, number)
) STRICT;

CREATE TABLE flow (
    name      TEXT NOT NULL PRIMARY KEY,
    flow_type TEXT NOT NULL CHECK (flow_type IN ('ordinary', 'realtime')),
    state     TEXT NOT NULL CHECK (
        state IN ('stopped', 'starting', 'running', 'sleeping', 'suspended', 'stopping')
    ),
    running   INTEGER,
    reason    TEXT,
    CHECK (state <> 'sleeping' OR flow_type = 'ordinary'),
    CHECK ((state = 'stopped') = (running IS NULL)),
    FOREIGN KEY (name, running) REFERENCES version (flow, number)
) STRICT;

CREATE TABLE draft (
    flow       TEXT NOT NULL PRIMARY KEY REFERENCES flow (name),
    definition TEXT NOT NULL CHECK (json_valid(definition)),
    saved_at   TEXT NOT NULL
) STRICT;

CREATE TABLE draft_pin (
    flow      TEXT    NOT NULL REFERENCES draft (flow) ON DELETE CASCADE,
    component TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    PRIMARY KEY (flow, component),
    FOREIGN KEY (component, revision) REFERENCES revision (component, number)
) STRICT;

CREATE TABLE version (
    flow         TEXT    NOT NULL REFERENCES flow (name),
    number       INTEGER NOT NULL CHECK (number >= 1),
    definition   TEXT    NOT NULL CHECK (json_valid(definition)),
    published_at TEXT    NOT NULL,
    PRIMARY KEY (flow, number)
) STRICT;

CREATE TABLE version_pin (
    flow      TEXT    NOT NULL,
    number    INTEGER NOT NULL,
    component TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    PRIMARY KEY (flow, number, component),
    FOREIGN KEY (flow, number) REFERENCES version (flow, number),
    FOREIGN KEY (component, revision) REFERENCES revision (component, number)
) STRICT;

CREATE TABLE snapshot (
    flow     TEXT NOT NULL REFERENCES flow (name),
    step     TEXT NOT NULL,
    content  TEXT NOT NULL CHECK (json_valid(content)),
    saved_at TEXT NOT NULL,
    PRIMARY KEY (flow, step)
) STRICT;

CREATE TABLE startup (
    flow     TEXT NOT NULL PRIMARY KEY REFERENCES flow (name),
    content  TEXT NOT NULL CHECK (json_valid(content)),
    saved_at TEXT NOT NULL
) STRICT;

-- What a step could not handle; cause is the message to try again, as the worker reported it.
CREATE TABLE failure (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    flow      TEXT NOT NULL REFERENCES flow (name),
    step      TEXT NOT NULL,
    error     TEXT NOT NULL,
    trace     TEXT NOT NULL,
    cause     TEXT CHECK (cause IS NULL OR json_valid(cause)),
    failed_at TEXT NOT NULL
) STRICT;

CREATE INDEX failure_by_flow ON failure (flow, id);

-- No reference to flow: what was refused because there is no such flow is history, too.
CREATE TABLE action (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    flow      TEXT,
    operation TEXT NOT NULL,
    detail    TEXT NOT NULL,
    begun_at  TEXT NOT NULL,
    ended_at  TEXT,
    outcome   TEXT CHECK (outcome IN ('done', 'failed', 'interrupted')),
    error     TEXT,
    CHECK ((ended_at IS NULL) = (outcome IS NULL)),
    CHECK (error IS NULL OR outcome IS NOT NULL)
) STRICT;

CREATE INDEX action_by_flow ON action (flow, id);
CREATE INDEX action_unfinished ON action (id) WHERE ended_at IS NULL;

CREATE VIEW flow_entry AS
SELECT
    name, flow_type, state, running, reason,
    (SELECT max(number) FROM version WHERE version.flow = flow.name) AS published,
    EXISTS (SELECT 1 FROM draft WHERE draft.flow = flow.name) AS has_draft
FROM flow;

CREATE TRIGGER revision_stays BEFORE UPDATE ON revision
BEGIN SELECT raise(ABORT, 'a revision never changes'); END;
CREATE TRIGGER revision_is_kept BEFORE DELETE ON revision
BEGIN SELECT raise(ABORT, 'a revision is never removed'); END;
CREATE TRIGGER version_stays BEFORE UPDATE ON version
BEGIN SELECT raise(ABORT, 'a version never changes'); END;
CREATE TRIGGER version_is_kept BEFORE DELETE ON version
BEGIN SELECT raise(ABORT, 'a version is never removed'); END;
CREATE TRIGGER version_pin_stays BEFORE UPDATE ON version_pin
BEGIN SELECT raise(ABORT, 'a version never changes'); END;
CREATE TRIGGER version_pin_is_kept BEFORE DELETE ON version_pin
BEGIN SELECT raise(ABORT, 'a version never changes'); END;

COMMIT;
