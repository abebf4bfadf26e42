"""Writes to one node without a pause and records every acknowledgement: the witness of all measurements.

Runs as a process of its own in the client namespace: `python3 -m lab.writer HOST RUN WORKER FILE [BUSY_SECONDS]`.
Three kinds of sessions, all in one select loop:
  kept   one connection that never gives up while TCP lives: it is what a busy client of the old primary looks like,
         also when the node was frozen and thaws much later
  fresh  connects anew all the time with short timeouts: what a load balancer's health check or a new client sees
  busy   (optional) one statement that computes for BUSY_SECONDS, then inserts: commits long after its postmaster died
Lines of FILE: `A id sent_us acked_us timeline session` acknowledged, `U id sent_us lost_us session` outcome unknown.
"""

import select
import signal
import sys

import psycopg2
import psycopg2.extensions as ext

from .sysproc import now_us

PACE_US = 5_000  # between writes while the node accepts them
PACE_REFUSED_US = 10_000  # and while it does not
CONNECT_TIMEOUT_US = 1_000_000
FRESH_TIMEOUT_US = 1_000_000
FRESH_WRITES = 5
CONNECTION_OK = 0  # libpq's ConnStatusType

INSERT = """INSERT INTO lab_writes (run, id, node) VALUES (%s, %s, %s)
            RETURNING substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"""
BUSY = """DO $$DECLARE until timestamptz := clock_timestamp() + interval '%s s'; n bigint := 0; BEGIN
            WHILE clock_timestamp() < until LOOP n := n + 1; END LOOP;
            INSERT INTO lab_writes (run, id, node) VALUES (%s, %s, %s); END$$"""


class Session:
    """One connection, driven by poll(): idle, connecting, asking."""

    def __init__(self, writer, kind):
        self.writer, self.kind = writer, kind
        self.conn = self.cursor = None
        self.state, self.due_us, self.deadline_us = "idle", 0, None
        self.id = self.sent_us = 0
        self.writes = 0

    def fileno(self):
        return self.conn.fileno()

    def wants(self):
        """(readable, writable) to wait for, or None when idle."""
        if self.state == "idle":
            return None
        return self.waits

    def step(self, now):
        if self.state == "idle":
            if now >= self.due_us:
                self.begin(now)
        elif self.deadline_us and now > self.deadline_us:
            self.drop(now, 0)

    def begin(self, now):
        if self.conn is None:
            self.state = "connecting"
            self.deadline_us = now + CONNECT_TIMEOUT_US
            try:
                self.conn = psycopg2.connect(self.writer.dsn, async_=1)
                self.advance()
            except psycopg2.Error:
                self.drop(now, 20_000)
            return
        self.state = "asking"
        self.deadline_us = now + FRESH_TIMEOUT_US if self.kind == "fresh" else None
        self.id = self.writer.next_id()
        self.cursor = self.conn.cursor()
        self.sent_us = now_us()
        try:
            self.ask()
            self.advance()
        except psycopg2.Error:
            self.finish_error()

    def ask(self):
        self.cursor.execute(INSERT, (self.writer.run, self.id, self.writer.host))

    def advance(self):
        """Called when the socket is ready."""
        try:
            state = self.conn.poll()
        except psycopg2.Error:
            self.finish_error()
            return
        if state == ext.POLL_OK:
            self.finish_ok(now_us())
        else:
            self.waits = (state == ext.POLL_READ, state == ext.POLL_WRITE)

    def finish_ok(self, now):
        if self.state == "asking":
            self.writer.record(f"A {self.id} {self.sent_us} {now} {int(self.cursor.fetchone()[0], 16)} {self.kind}")
            self.writes += 1
        self.state = "idle"
        self.due_us = now + PACE_US
        if self.kind == "fresh" and self.writes >= FRESH_WRITES:
            self.writes = 0
            self.drop(now, 100_000)

    def finish_error(self):
        now = now_us()
        # The server said no and the connection lives: a replica, or a primary in the making.
        if self.state == "asking" and not self.conn.closed and self.conn.info.status == CONNECTION_OK:
            self.state, self.due_us = "idle", now + PACE_REFUSED_US
            if self.kind == "fresh":
                self.drop(now, 200_000)
        else:
            self.drop(now, 20_000)

    def drop(self, now, pause_us):
        if self.state == "asking":
            self.writer.record(f"U {self.id} {self.sent_us} {now} {self.kind}")
        if self.conn is not None:
            self.conn.close()
        self.conn, self.state, self.due_us = None, "idle", now + pause_us


class BusySession(Session):
    """Asks once; what becomes of it is recorded like any write, with the timeline it began on."""

    done = False
    timeline = 0

    def ask(self):
        if not self.timeline:
            self.cursor.execute("SELECT CASE WHEN pg_is_in_recovery() THEN '0' ELSE"
                                " substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END")
        else:
            self.cursor.execute(BUSY, (self.writer.busy_seconds, self.writer.run, self.id, self.writer.host))
            self.writer.record(f"B {self.id} {self.sent_us}")

    def step(self, now):
        if not self.done:
            super().step(now)

    def finish_ok(self, now):
        if self.state == "asking" and not self.timeline:
            self.timeline = int(self.cursor.fetchone()[0], 16)
            self.done = not self.timeline  # a replica: nothing to do here
        elif self.state == "asking":
            self.writer.record(f"A {self.id} {self.sent_us} {now} {self.timeline} busy")
            self.done = True
        self.state = "idle"

    def drop(self, now, pause_us):
        self.done = self.done or bool(self.timeline)
        super().drop(now, pause_us)


class Writer:
    def __init__(self, host, run, worker, path, busy_seconds):
        self.host, self.run, self.worker, self.busy_seconds = host, run, worker, busy_seconds
        # A replica refuses every write: without these settings its log would consist of that.
        self.dsn = (f"host={host} port=5432 user=postgres dbname=postgres application_name=lab"
                    " options='-c log_min_messages=fatal -c log_min_error_statement=panic"
                    " -c statement_timeout=0'")
        self.out = open(path, "w", buffering=1)
        self.count = 0
        self.sessions = [Session(self, "kept"), Session(self, "fresh")]
        if busy_seconds:
            self.sessions.append(BusySession(self, "busy"))
        self.running = True

    def next_id(self):
        self.count += 1
        return self.worker << 40 | self.count

    def record(self, line):
        self.out.write(line + "\n")

    def loop(self):
        while self.running:
            now = now_us()
            for s in self.sessions:
                s.step(now)
            active = [s for s in self.sessions if s.wants()]
            wake = min((s.due_us for s in self.sessions if not s.wants() and s.due_us > now), default=now + 50_000)
            readers = [s for s in active if s.wants()[0]]
            writers = [s for s in active if s.wants()[1]]
            readable, writable, _ = select.select(readers, writers, [], max(0.0, min(wake - now_us(), 50_000) / 1e6))
            for s in set(readable + writable):
                s.advance()
        for s in self.sessions:
            s.drop(now_us(), 0)


def main():
    host, run, worker, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    writer = Writer(host, run, worker, path, float(sys.argv[5]) if len(sys.argv) > 5 else 0)
    signal.signal(signal.SIGTERM, lambda *_: setattr(writer, "running", False))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writer.loop()


if __name__ == "__main__":
    main()
