/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over of a container between two nodes, as ct-migration(7) tells it and as ctd/verbs-migrate.c and
 * ctd/verbs-receive.c do it.
 *
 * What is on disk (the record, its mark and epoch, the disk's contents) is global and survives; a step that is
 * one synced transaction in ctd is one atomic here. Between any two steps ctd may be killed: the process then
 * begins anew with what is on disk, while what runs goes on. (A power cut is the same and ends what runs as well,
 * so it leads to nothing worse.) Each word goes by a connection of its own (CONNECTIONS of them): it may be lost, its answer may be
 * lost, and it may arrive any time later, when the other end has long given up. The contents of the disk are a
 * number that grows while the container runs somewhere. Its memory goes in rounds that are sent ahead, a row of
 * them with a number; a row may become void, and another begin.
 *
 *	never two	at most one of the nodes runs it
 *	never stale	what runs has the newest contents
 *	recoverable	some node has a copy with the newest contents
 *	never mixed	what runs there does not go on from rounds of memory that are void
 *
 * A third node is where the destination may move it on to, so that it is not there any more. The administrator's
 * --keep is not modelled: it is the decision of somebody who knows what the nodes cannot.
 *
 * Each of the names below, defined, takes one precaution away; the run must then find a fault (test/model/check):
 *	MUTANT_ORDER	the word commit is said before the mark relinquished is on disk
 *	MUTANT_FORGET	the source removes its copy before commit is answered
 *	MUTANT_ABSENT	a repeated commit takes "no such container" for proof that it was never taken
 *	MUTANT_EPOCH	an offer that comes late replaces a newer one
 *	MUTANT_STALE	commit looks at the container and not at its epoch
 *	MUTANT_BROKEN	a record that does not read counts as one without a mark
 *	MUTANT_COPY	an offer that goes on from a copy is taken without a look at the whole
 *	MUTANT_ROUNDS	an offer that goes on from rounds of memory is taken without a look at which are there
 *	MUTANT_STAGED	who is asked to give up what was copied only says that it gave the container up
 *	MUTANT_WITHDRAW	the other node says that it gives it up, and does not
 */

#define CONNECTIONS 4
#define WRITES	    1

#ifdef MUTANT_STALE
#define same_epoch(e) (true)
#else
#define same_epoch(e) (dst.epoch == e)
#endif

mtype = { none, incoming, relinquished };	       /* marks */
mtype = { copy, offer, commit, withdraw };	       /* words */
mtype = { good, bad, absent, yours };		       /* answers */

typedef node {
	bool present, runs, unreadable;
	mtype mark;
	byte epoch, contents;
}

node src, dst, third;
/* What the destination has of a copy, with the epoch and contents of it: no record of its own, and gone with its ctd. */
bool staged;
byte staged_epoch, staged_contents, staged_memory;
/* That what it has taken has the memory of another row than the one it was to go on from. */
bool mixed;
byte newest;
byte n_connections, n_unreadable;
chan request[CONNECTIONS] = [1] of { mtype, byte, byte, byte }; /* word, epoch, contents, row of memory (0: none) */
chan answer[CONNECTIONS] = [1] of { mtype };

#define two_run	   ((src.runs && dst.runs) || (src.runs && third.runs) || (dst.runs && third.runs))
#define is_newest(n) (n.present && n.contents == newest)

inline check()
{
	assert(!two_run);
	assert(!src.runs || is_newest(src));
	assert(!dst.runs || is_newest(dst));
	assert(!dst.runs || !mixed);
	assert(is_newest(src) || is_newest(dst) || is_newest(third));
}

/* A connection that nobody has used; without one the process waits for good, which is no fault. */
inline say(word)
{
	atomic {
		n_connections < CONNECTIONS;
		at = n_connections;
		n_connections++;
		request[at]!word, src.epoch + 1, src.contents, (word == offer || word == copy -> row : 0);
	}
}

/* The answer, or none; or ctd ends while it waits, and does not know what it waited for. */
inline hear()
{
	said = bad;
	if
	:: answer[at]?said
	:: skip
	:: goto again
	fi
}

inline forget()
{
	atomic { src.present = false; src.mark = none; check(); }
}

/* The mark goes; the epoch grows, so that words of before are not believed. */
inline take_back()
{
	atomic { src.mark = none; src.epoch++; check(); }
}

proctype Source()
{
	mtype said;
	byte at, row;
again:
	atomic { said = 0; at = 0; row = 0 }
	/* ctd starts: unmarked, it may be started, by the replay, by autostart, by people */
	if
	:: atomic { src.present && src.mark == none -> src.runs = true; check(); }
	:: skip
	fi;
	if
	:: src.present && src.mark == none -> /* migrate */
#ifndef MUTANT_EPOCH
		src.epoch++; /* synced, before what is said */
#endif
		if
		:: row = 1; say(copy); hear(); /* it may run on and write meanwhile */
			if
			:: row = 2 /* that was void: it began anew, and of that nothing has come */
			:: row = 0 /* that was void, and all of it goes with the offer */
			:: skip
			fi
		:: skip
		fi;
		src.runs = false;
		say(offer);
		row = 0; /* it has been said */
		hear();
		if
		:: said != good ->
			if
			:: say(withdraw); hear() /* what was copied: the answer means nothing */
			:: skip
			fi;
			goto again
		:: else
		fi;
#ifdef MUTANT_ORDER
		say(commit);
		if
		:: goto again
		:: skip
		fi;
		src.mark = relinquished;
#else
		src.mark = relinquished;
		if
		:: goto again /* killed between the two */
		:: skip
		fi;
		say(commit);
#endif
#ifdef MUTANT_FORGET
		forget();
#endif
		hear();
		if
		:: said == good -> forget()
		:: said == absent -> take_back()
		:: else
		fi
	:: src.present && src.mark == relinquished -> /* the same command again, or the replay */
		say(commit);
		hear();
		if
		:: said == good -> forget()
#ifdef MUTANT_ABSENT
		:: said == absent -> take_back()
#endif
		:: else
		fi
	:: src.present && src.mark == relinquished -> /* migrate resolve */
		say(withdraw);
		hear();
		if
		:: said == good -> forget()
		:: said == yours -> take_back()
		:: else
		fi
	:: !src.present -> goto over
	fi;
	goto again;
over:	skip
}

/* One that is lost is one that nobody waits for any more. */
inline reply(what)
{
	answer[i]!what
}

/* As an offer, but what comes of it is only staged; a kill of ctd forgets it. */
inline hear_copy()
{
	atomic {
		if
		:: dst.present && (dst.mark == none || dst.unreadable) -> reply(bad)
#ifndef MUTANT_EPOCH
		:: dst.present && dst.mark == incoming && !dst.unreadable && e < dst.epoch -> reply(bad)
#endif
		:: else ->
			dst.present = false;
			dst.mark = none;
			staged = true;
			staged_epoch = e;
			staged_contents = c;
			staged_memory = m;
			check();
			reply(good)
		fi
	}
}

/* Or ctd is killed before it answers; what is on disk stays. */
inline hear_offer()
{
	if
	:: atomic { dst.present && (dst.mark == none || dst.unreadable) -> reply(bad) }
#ifndef MUTANT_EPOCH
	:: atomic { dst.present && dst.mark == incoming && !dst.unreadable && e < dst.epoch -> reply(bad) }
#endif
	:: else ->
		atomic { dst.present = false; dst.mark = none; check(); } /* an earlier one gives way */
		if
		:: staged = false; goto again /* killed while it arrives: nothing of it is kept */
		:: skip
		fi;
		atomic {
			mixed = m != 0 && !(staged && staged_epoch == e && staged_memory == m);
			if
#ifndef MUTANT_ROUNDS
			:: mixed -> /* they have other digests */
				mixed = false;
				staged = false;
				reply(bad)
			:: else ->
#else
			:: true ->
#endif
				dst.present = true;
				dst.mark = incoming;
				dst.epoch = e;
#ifdef MUTANT_COPY
				dst.contents = (staged && staged_epoch == e -> staged_contents : c);
#else
				dst.contents = c; /* or its digest is another, and it is refused */
#endif
				staged = false;
				reply(good)
			fi
		}
	fi
}

inline hear_commit()
{
	atomic {
		if
		:: !dst.present -> reply(absent)
#ifdef MUTANT_BROKEN
		:: dst.present && dst.unreadable -> reply(good)
#else
		:: dst.present && dst.unreadable -> reply(bad)
#endif
		:: dst.present && !dst.unreadable && !same_epoch(e) -> reply(bad)
		:: dst.present && !dst.unreadable && same_epoch(e) ->
			dst.mark = none;
			check();
			if
			:: dst.runs = true; check(); reply(good)
			:: reply(good) /* it does not start, or is killed before: a warning, or nothing */
			fi
		fi
	}
}

inline hear_withdraw()
{
	atomic {
		if
		:: dst.present && !dst.unreadable && dst.mark == incoming && dst.epoch == e ->
#ifndef MUTANT_WITHDRAW
			dst.present = false;
#endif
			reply(yours)
		:: dst.present && !dst.unreadable && dst.mark == none && dst.epoch == e -> reply(good)
		:: !dst.present && staged && staged_epoch == e ->
			staged = false;
			/* It may have been taken and moved on before a word copy came that was late. */
#ifdef MUTANT_STAGED
			reply(yours)
#else
			reply(bad)
#endif
		:: else -> reply(bad)
		fi
	}
}

proctype Destination()
{
	mtype word;
	byte i, e, c, m;
again:
	atomic { i = 0; e = 0; c = 0; m = 0; word = 0 }
	do
	:: atomic { dst.present && dst.mark == none && !dst.unreadable -> dst.runs = true; check(); }
	:: atomic { /* moved on, by the same protocol; epochs grow there too */
		dst.present && dst.mark == none && !dst.unreadable && !third.present ->
		third.contents = dst.contents;
		third.present = true;
		third.runs = dst.runs;
		dst.present = false;
		dst.runs = false;
		check();
	   }
	:: atomic { dst.present && dst.mark == incoming && !dst.unreadable -> dst.present = false; check(); } /* people destroy it */
	:: atomic { staged -> staged = false } /* nobody comes any more, or ctd ends */
	:: dst.present && dst.mark == incoming && !dst.unreadable && n_unreadable == 0 -> dst.unreadable = true
	:: dst.unreadable -> dst.unreadable = false; /* mended by people */ n_unreadable++
	:: atomic {
		if
		:: nempty(request[0]) -> i = 0
		:: nempty(request[1]) -> i = 1
		:: nempty(request[2]) -> i = 2
		:: nempty(request[3]) -> i = 3
		fi;
		if
		:: request[i]?word, e, c, m
		fi
	   }
		if
		:: word == copy -> hear_copy()
		:: word == offer -> hear_offer()
		:: word == commit -> hear_commit()
		:: word == withdraw -> hear_withdraw()
		fi;
		atomic { i = 0; e = 0; c = 0; m = 0; word = 0 }
	od
}

/* What runs writes. */
proctype World()
{
	do
	:: atomic { newest < WRITES && src.runs -> newest++; src.contents = newest; check(); }
	:: atomic { newest < WRITES && dst.runs -> newest++; dst.contents = newest; check(); }
	:: atomic { newest < WRITES && third.runs -> newest++; third.contents = newest; check(); }
	od
}

init
{
	atomic {
		src.present = true;
		src.mark = none;
		src.epoch = 1;
		dst.mark = none;
		third.mark = none;
		run Source();
		run Destination();
		run World();
	}
}
