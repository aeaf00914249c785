-- Usage of containers: STATE/ledger.db, SQLite in WAL mode, apart from the state, so that its size and its writes concern nobody else.
-- Counters are packed as ctd/meter-counts.c has it. Times are seconds since 1970 UTC unless they say usec.

-- One container, also after its destruction. total is what it has used since it was made; posted the part of it that is in postings; the
-- rest belongs to the interval that began at open. seen, with boot_id and cgroup (which run), is what the kernel's counters said when they were last
-- added to total: what they say beyond that is new. All of it changes in one statement.
CREATE TABLE account (
	id        INTEGER PRIMARY KEY,
	ctid      TEXT NOT NULL UNIQUE CHECK (length(ctid) = 32),
	name      TEXT NOT NULL,
	created   INTEGER NOT NULL,
	destroyed INTEGER,
	day       INTEGER NOT NULL CHECK (day BETWEEN 1 AND 31), -- of the month on which its periods begin
	open      INTEGER NOT NULL,
	total     BLOB NOT NULL,
	posted    BLOB NOT NULL,
	seen      BLOB NOT NULL,
	boot_id   TEXT NOT NULL,
	cgroup    INTEGER NOT NULL,          -- the kernel's id of its cgroup, 0: none
	final     INTEGER NOT NULL,          -- the cgroup was read when its last process had gone
	clock_usec INTEGER NOT NULL,         -- monotonic, of that boot, when it was sampled last
	time_usec  INTEGER NOT NULL          -- the same by the wall clock
) STRICT;
CREATE INDEX account_name ON account (name);

-- What was used in one stretch of time: kind 0 an interval, 1 an hour, 2 a billing period. Each is the sum of the ones before in it, as long as those are kept.
CREATE TABLE posting (
	account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
	kind    INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
	start   INTEGER NOT NULL,
	counts  BLOB NOT NULL,
	PRIMARY KEY (account, kind, start)
) STRICT, WITHOUT ROWID;

-- Classes of traffic: which name the counters of a slot belong to. A slot never gets another name.
CREATE TABLE class (
	slot INTEGER PRIMARY KEY CHECK (slot BETWEEN 0 AND 7),
	name TEXT NOT NULL UNIQUE
) STRICT;
