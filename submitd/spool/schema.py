"""Tables, their version, and how an older database becomes a newer one."""

import sqlite3
from typing import Final

from submitd.mail.usage import login_key

VERSION: Final = 4

_TABLES: Final = """
CREATE TABLE message (
  id INTEGER PRIMARY KEY,        -- the queue id as a number; grows with time
  queue_id TEXT NOT NULL,        -- the same, as people write it
  accepted_at REAL NOT NULL,     -- seconds since 1970, UTC
  reverse_path TEXT,             -- NULL: <>
  envelope TEXT NOT NULL,        -- JSON: what `rows.envelope_text` puts there
  submitter TEXT,
  session TEXT NOT NULL,
  eight_bit INTEGER NOT NULL,
  smtputf8 INTEGER NOT NULL,
  held INTEGER NOT NULL,
  removed INTEGER NOT NULL DEFAULT 0,  -- goes when its attempt ends
  chunks INTEGER NOT NULL,       -- rows in chunk; the tail comes after them
  body_size INTEGER NOT NULL,
  header BLOB NOT NULL,
  tail BLOB NOT NULL
);
CREATE TABLE chunk (
  message INTEGER NOT NULL,
  number INTEGER NOT NULL,
  octets BLOB NOT NULL,
  UNIQUE (message, number)
);
CREATE TABLE intake (
  message INTEGER PRIMARY KEY,
  owner TEXT NOT NULL
);
CREATE TABLE recipient (
  message INTEGER NOT NULL,
  number INTEGER NOT NULL,
  address TEXT NOT NULL,
  domain TEXT NOT NULL,
  wishes TEXT NOT NULL,          -- JSON: notify, orcpt; empty where none
  state TEXT NOT NULL,           -- queued, relayed, failed
  held INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at REAL NOT NULL,
  lease TEXT,                    -- the owner's incarnation
  delay_reported INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT '',
  diagnostic TEXT NOT NULL DEFAULT '',
  host TEXT NOT NULL DEFAULT '',
  last_attempt_at REAL,
  PRIMARY KEY (message, number)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (due_at)
  WHERE state = 'queued' AND lease IS NULL AND held = 0;
CREATE INDEX recipient_lease ON recipient (lease) WHERE lease IS NOT NULL;
CREATE TABLE event (
  message INTEGER NOT NULL,
  at REAL NOT NULL,
  what TEXT NOT NULL
);
CREATE INDEX event_message ON event (message);
CREATE INDEX message_removed ON message (id) WHERE removed = 1;
"""
"""Version 1: a new database is made so and then migrated, as the others are."""

_RENDITIONS: Final = """
ALTER TABLE message ADD COLUMN binary INTEGER NOT NULL DEFAULT 0;
CREATE TABLE rendition (
  content INTEGER PRIMARY KEY,   -- its rows in chunk are those of this number
  message INTEGER NOT NULL,
  form TEXT NOT NULL,            -- what a host must take: 7bit, 8bit
  refusal TEXT,                  -- why there is no such form; NULL: here it is
  chunks INTEGER NOT NULL,
  body_size INTEGER NOT NULL,
  header BLOB NOT NULL,
  tail BLOB NOT NULL,
  UNIQUE (message, form)
);
CREATE TRIGGER message_renditions_deleted AFTER DELETE ON message BEGIN
  DELETE FROM rendition WHERE message = old.id;
END;
CREATE TRIGGER rendition_deleted AFTER DELETE ON rendition BEGIN
  DELETE FROM chunk WHERE message = old.content;
END;
"""
_WISHES: Final = """
ALTER TABLE message ADD COLUMN release_at REAL;  -- not sent before; NULL: at once
ALTER TABLE recipient ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
DROP INDEX recipient_due;
CREATE INDEX recipient_due ON recipient (priority, due_at)
  WHERE state = 'queued' AND lease IS NULL AND held = 0;
"""
"""What the parameters of MAIL brought along."""
_USAGE: Final = """
ALTER TABLE message ADD COLUMN login TEXT;  -- the submitter's `login_key`
-- Of others nobody counts what was there before, and each row has a message.
UPDATE message SET login = login_key(submitter)
  WHERE held = 1 AND submitter IS NOT NULL;
CREATE TABLE usage (             -- what logins with limits have sent
  login TEXT NOT NULL,           -- its `login_key`, here and below
  span INTEGER NOT NULL,         -- seconds counted together
  until REAL NOT NULL,           -- seconds since 1970: then it counts no more
  messages INTEGER NOT NULL DEFAULT 0,
  recipients INTEGER NOT NULL DEFAULT 0,
  new_recipients INTEGER NOT NULL DEFAULT 0,
  UNIQUE (login, span, until)
);
CREATE INDEX usage_until ON usage (until);
CREATE TABLE correspondent (     -- whom they have written to
  login TEXT NOT NULL,
  mailbox BLOB NOT NULL,         -- a hash
  seen INTEGER NOT NULL,         -- days since 1970
  UNIQUE (login, mailbox)
);
CREATE INDEX correspondent_seen ON correspondent (seen);
CREATE INDEX correspondent_latest ON correspondent (login, seen);
CREATE TABLE told (              -- who was told that their mail is held
  login TEXT PRIMARY KEY,
  submitter TEXT NOT NULL,       -- as people write it
  mailbox TEXT,                  -- where; NULL: only the postmaster was
  at REAL NOT NULL               -- when last: seconds since 1970
) WITHOUT ROWID;
CREATE INDEX message_held ON message (login) WHERE held = 1;
CREATE INDEX message_later ON message (login, release_at)
  WHERE release_at IS NOT NULL;
"""

_MIGRATIONS: Final = {
    1: """
CREATE TRIGGER message_deleted AFTER DELETE ON message BEGIN
  DELETE FROM chunk WHERE message = old.id;
  DELETE FROM recipient WHERE message = old.id;
  DELETE FROM event WHERE message = old.id;
END;
""",
    # Deaths of ours between the final dot for this recipient and its record.
    2: "ALTER TABLE recipient ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0;",
    3: _RENDITIONS + _WISHES + _USAGE,
}
"""For each older version, what makes it one newer."""


class WrongVersion(Exception):
    """The database was made by a newer submitd, or is none of ours."""


def version_of(connection: sqlite3.Connection) -> int:
    """The schema's version; 0 is an empty database."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def check(connection: sqlite3.Connection) -> None:
    """Only a database of exactly our version is used.

    Raises:
        WrongVersion: it has another one.
    """
    if (version := version_of(connection)) != VERSION:
        raise WrongVersion(f"schema version {version}, but {VERSION} is needed")


def prepare(connection: sqlite3.Connection) -> None:
    """Create or migrate, in one transaction.

    Raises:
        WrongVersion: the database is newer than this program.
    """
    if (version := version_of(connection)) > VERSION:
        raise WrongVersion(f"schema version {version} is newer than this submitd")
    if version == VERSION:
        return
    connection.create_function("login_key", 1, login_key)
    steps = [_TABLES] if version == 0 else []
    steps += [_MIGRATIONS[one] for one in range(max(1, version), VERSION)]
    connection.executescript(
        f"BEGIN EXCLUSIVE; {''.join(steps)} PRAGMA user_version = {VERSION}; COMMIT;"
    )
