-- The state of one instance of ctd: STATE/ctd.db, SQLite in WAL mode.
--
-- What must be unique is unique here, by constraint, not by a check in code. What is acknowledged of create, set, destroy is committed with
-- synchronous=FULL; intents and run states with synchronous=NORMAL: they need to survive ctd, not the power.
-- Times are microseconds since 1970 UTC. user_version is the version of this schema, which is the newest;
-- store-versions.c has the steps that bring older ones here.

-- One row a key: instance tag, where the id range of this instance starts, when the host booted last (boot_id).
CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Root filesystems that containers may be made from. The directory is templates/DIGEST; a name points to one digest and may move on to a
-- newer build while containers keep the digest they were made from.
CREATE TABLE template_image (
	digest   TEXT PRIMARY KEY CHECK (length(digest) = 64),
	metadata TEXT NOT NULL,             -- JSON: see ct-template(5)
	bytes    INTEGER NOT NULL,
	created  INTEGER NOT NULL
) STRICT;

CREATE TABLE template_name (
	name   TEXT PRIMARY KEY,
	digest TEXT NOT NULL REFERENCES template_image (digest) ON DELETE RESTRICT
) STRICT, WITHOUT ROWID;

-- A container. number is small, dense and reused after destroy: its MAC and its default private address are made from it.
-- config is the JSON of everything that was asked for (ctd/config.h reads and checks it, at every start again).
CREATE TABLE container (
	ctid     TEXT PRIMARY KEY CHECK (length(ctid) = 32),
	name     TEXT NOT NULL UNIQUE,
	number   INTEGER NOT NULL UNIQUE CHECK (number >= 1),
	template TEXT NOT NULL REFERENCES template_image (digest) ON DELETE RESTRICT,
	template_name TEXT NOT NULL,
	config   TEXT NOT NULL,
	epoch    INTEGER NOT NULL DEFAULT 1,  -- raised by every hand-over between hosts
	broken   TEXT,                        -- why fsck is needed, NULL: it is not
	created  INTEGER NOT NULL,
	complete INTEGER NOT NULL DEFAULT 0   -- 0 while create is at work: an incomplete container is removed at the next start of ctd
) STRICT;
CREATE INDEX container_template ON container (template);

-- What runs, as far as was recorded. After a kill of ctd it is compared with the keeper and the cgroups; after a reboot it is history.
CREATE TABLE run (
	ctid       TEXT PRIMARY KEY REFERENCES container (ctid) ON DELETE CASCADE,
	state      TEXT NOT NULL CHECK (state IN ('starting', 'running', 'stopping', 'stopped', 'frozen', 'suspended', 'migrating')),
	boot_id    TEXT NOT NULL,
	slot       INTEGER UNIQUE CHECK (slot >= 1), -- lease of an id range (base = start + 65536 * slot) and of link names; NULL: none
	pid        INTEGER,
	start_time INTEGER,                   -- clock ticks, field 22 of /proc/PID/stat
	started    INTEGER,
	exit_code  INTEGER,                   -- 0..255, 128 + signal; NULL: running or not known
	exit_time  INTEGER,
	restarts   INTEGER NOT NULL DEFAULT 0,
	wanted     INTEGER NOT NULL DEFAULT 0 -- 1: was running when the host went down, for autostart=last-state
) STRICT, WITHOUT ROWID;

-- Addresses and blocks: exactly one owner, no overlaps. scope is where they must be unique: '' among the routes of this host, else a segment's
-- name. address is canonical text, with /N only when it is not a single one; first and last are their bounds as text that sorts as they do (store-versions.c has the functions that make them).
CREATE TABLE address (
	scope   TEXT NOT NULL,
	address TEXT NOT NULL,
	first   TEXT NOT NULL,
	last    TEXT NOT NULL,
	ctid    TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE,
	device  TEXT NOT NULL,
	PRIMARY KEY (scope, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX address_ctid ON address (ctid);
CREATE TRIGGER address_overlap BEFORE INSERT ON address
WHEN EXISTS (SELECT 1 FROM (SELECT last FROM address WHERE scope = NEW.scope AND first <= NEW.last ORDER BY first DESC LIMIT 1)
	WHERE last >= NEW.first)
BEGIN
	SELECT RAISE(ABORT, 'overlap');
END;

-- Ports of the host that lead to a container, one by one; protocol is 6 (TCP) or 17 (UDP), address '' is any of the host's.
CREATE TABLE publish (
	protocol INTEGER NOT NULL,
	address  TEXT NOT NULL,
	port     INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
	ctid     TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE,
	PRIMARY KEY (protocol, address, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX publish_ctid ON publish (ctid);

-- Named networks. config is JSON, see ctd/network.h; number makes the names of links.
CREATE TABLE network (
	name    TEXT PRIMARY KEY,
	number  INTEGER NOT NULL UNIQUE CHECK (number >= 1),
	config  TEXT NOT NULL,
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What has gone through an interface of a container since it was created: sums, and what the host's counters said when they were last added,
-- in the run that slot and boot_id name.
CREATE TABLE traffic (
	ctid        TEXT NOT NULL REFERENCES container (ctid) ON DELETE CASCADE,
	device      TEXT NOT NULL,
	in_bytes    INTEGER NOT NULL,
	in_packets  INTEGER NOT NULL,
	out_bytes   INTEGER NOT NULL,
	out_packets INTEGER NOT NULL,
	out_dropped INTEGER NOT NULL,
	boot_id     TEXT NOT NULL,
	slot        INTEGER NOT NULL,
	seen_in_bytes    INTEGER NOT NULL,
	seen_in_packets  INTEGER NOT NULL,
	seen_out_bytes   INTEGER NOT NULL,
	seen_out_packets INTEGER NOT NULL,
	seen_out_dropped INTEGER NOT NULL,
	PRIMARY KEY (ctid, device)
) STRICT, WITHOUT ROWID;

-- Project ids on the file system of the store: exactly one owner, whether the container is complete or not.
CREATE TABLE project (
	id   INTEGER PRIMARY KEY CHECK (id >= 1),
	ctid TEXT NOT NULL UNIQUE REFERENCES container (ctid) ON DELETE CASCADE
) STRICT;

-- Plans: named sets of limits. config is JSON; containers name their plan in their own config and have its values there, so that what a
-- container has can be read from its row alone.
CREATE TABLE plan (
	name    TEXT PRIMARY KEY,
	config  TEXT NOT NULL,
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Jobs: one verb being carried out, recorded before it acts. A row with finished NULL at start of ctd is undone or finished by its verb's replay.
-- ctid has no foreign key: the record of a destroy outlives its container.
CREATE TABLE job (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	verb     TEXT NOT NULL,
	ctid     TEXT,
	object   TEXT NOT NULL,               -- what people called it: the container's or template's name
	params   TEXT NOT NULL,               -- JSON of the request
	step     TEXT NOT NULL DEFAULT '',
	created  INTEGER NOT NULL,
	finished INTEGER,
	result   TEXT,                        -- JSON of the answer
	error    TEXT                         -- JSON of struct ct_error, NULL: done
) STRICT;
CREATE INDEX job_open ON job (id) WHERE finished IS NULL;

-- Answers that were given under a request id, so that a repeated request returns the same and does nothing. Kept for a day.
CREATE TABLE request (
	id      TEXT PRIMARY KEY,
	uid     INTEGER NOT NULL,
	digest  TEXT NOT NULL,                -- of method, path and body: the same id with another request is refused
	status  INTEGER,                      -- NULL: at work
	answer  TEXT,
	created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_created ON request (created);

-- Who did what when with which result. Bounded: the oldest rows go.
CREATE TABLE audit (
	id        INTEGER PRIMARY KEY AUTOINCREMENT,
	time      INTEGER NOT NULL,
	uid       INTEGER NOT NULL,
	gid       INTEGER NOT NULL,
	pid       INTEGER NOT NULL,
	operation TEXT NOT NULL,
	object    TEXT NOT NULL,
	status    INTEGER NOT NULL,           -- HTTP status
	message   TEXT NOT NULL               -- of the error, or ''
) STRICT;
CREATE INDEX audit_time ON audit (time);

-- What happened: state changes, exits, failures. Bounded: the oldest rows go.
CREATE TABLE event (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	time   INTEGER NOT NULL,
	type   TEXT NOT NULL,                 -- container.started, container.exited, ...
	ctid   TEXT,
	name   TEXT NOT NULL DEFAULT '',
	detail TEXT NOT NULL DEFAULT '{}'     -- JSON
) STRICT;
