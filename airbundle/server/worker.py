"""gunicorn's threaded worker, with the deadlines that a server without a proxy before it needs.

gunicorn leaves slow clients to a proxy: a connection that is silent, or sends a header byte now and then, keeps its
thread for ever. Here a request's header, with the TLS handshake before it, must arrive within `header_seconds`, and a
client that takes no byte of a reply is dropped by the kernel (`listen`). A worker that is told to end by a reload sends
what it has begun.

Only what gunicorn 23 (all that Python 3.9 can have) and its successors share is used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import gunicorn
from gunicorn import arbiter
from gunicorn.workers import gthread

logger = logging.getLogger(__name__)

LINGER_SECONDS = 3600
_TICK_SECONDS = 1.0
_DRAIN_SECONDS = 1.0
_QUIT_SECONDS = 0.1
_DRAINS_ITSELF = gunicorn.version_info >= (24,)
_PROVE_AGAIN_SECONDS = 60.0

_HELLO_MILLISECONDS = 1000
_HANDSHAKE = b"\x16"  # RFC 8446 §5.1
_RECORD = 65536
_TEXT = b"this port speaks plain HTTP, not HTTPS\n"
# Clients such as Go's know an HTTP answer to a handshake, and say what is wrong.
_PLAIN = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)

_open: set[Connection] = set()

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


@contextlib.contextmanager
def ending_waits() -> Iterator[None]:
    """Let signals that end the server wait until the block is done: gunicorn would take them for something else."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


class Arbiter(arbiter.Arbiter):
    """gunicorn's master process, with three mends of its signals.

    One that comes while it begins waits until gunicorn's own handlers take it, and one that meets a worker between fork
    and its first own handler is not lost. Workers that died are told of and forgotten in the main loop, as newer
    versions do it: gunicorn 23 does it within the signal's handler, and where that meets a line that is just being
    written (such as another worker's death) Python refuses to write, and serving ends.
    """

    stopping = False

    def start(self) -> None:
        """Begin, and tell that it is ready."""
        with ending_waits():
            super().start()

    def handle_chld(self, *from_signal: Any) -> None:
        """Know that a worker died. Newer versions call this from the main loop, without arguments."""
        if not from_signal:
            super().handle_chld()
        elif self.stopping:  # the main loop has ended, and `stop` writes nothing while it waits for this
            self.reap_workers()
        else:
            self.wakeup()

    def reap_workers(self) -> None:
        """Tell of workers that died and forget them. No other death interrupts it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        try:
            super().reap_workers()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def manage_workers(self) -> None:
        """Have as many workers as there should be; the main loop's every turn."""
        self.reap_workers()
        super().manage_workers()

    def stop(self, graceful: bool = True) -> None:
        """End the workers."""
        self.stopping = True
        # A worker that could not begin ends the server; when that is under way already, it is one that has ended.
        # No exit code is negative; None would be that of a worker which a signal ended (gunicorn 27).
        vars(self).update(WORKER_BOOT_ERROR=-1, APP_LOAD_ERROR=-1)
        self.reap_workers()
        super().stop(graceful)

    def spawn_worker(self) -> Any:
        """Fork a worker; returns in this process only."""
        with ending_waits():
            return super().spawn_worker()


class Connection(gthread.TConn):
    """A connection with a deadline for the header that it is to send next; None while none is awaited.

    Attributes:
        patience: in seconds; of all connections of this process.
    """

    patience = 20.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fresh = True
        self.await_header()
        _open.add(self)

    def await_header(self) -> None:
        """Start the clock."""
        self.deadline: float | None = time.monotonic() + self.patience

    def has_header(self) -> None:
        """Stop the clock."""
        self.deadline = None

    def refuse_tls(self) -> None:
        """Answer a client that begins a TLS handshake: else it waits for our half of it until its patience ends."""
        if not self._fresh:
            return
        self._fresh = False
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        try:
            if waiting.poll(_HELLO_MILLISECONDS) and self.sock.recv(1, socket.MSG_PEEK) == _HANDSHAKE:
                self.sock.recv(_RECORD)
                self.sock.sendall(_PLAIN)
                self.cut()
        except OSError:  # gone; seen again by who reads next
            pass

    def cut(self) -> None:
        """Make a thread that reads from it see its end. Its socket stays that thread's to close."""
        try:
            # Not SSLSocket's own method: that one would take TLS away under the reader.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:  # closed, or about to be wrapped: seen again at the next tick
            pass

    def close(self, *arguments: Any, **named: Any) -> None:
        """Close it."""
        _open.discard(self)
        super().close(*arguments, **named)


# The worker makes its connections by this name.
vars(gthread)["TConn"] = Connection


class Worker(gthread.ThreadWorker):
    """A worker process."""

    def init_process(self) -> None:
        """Run; called after the fork."""
        # This process's copy only: the arbiter's own patience when it stops stays short.
        self.cfg.set("graceful_timeout", LINGER_SECONDS)
        Connection.patience = float(self.app.wsgi().config.header_seconds)
        self.done = threading.Event()
        self.ending = False
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        threading.Thread(target=self._prove, name="prove", daemon=True).start()
        super().init_process()

    def init_signals(self) -> None:
        """Take signals, among them any that came since the fork (`Arbiter.spawn_worker`)."""
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End (SIGTERM), but answer those whose connections were taken already; gunicorn 23 would reset them."""
        if _DRAINS_ITSELF:
            super().handle_exit(sig, frame)
            return
        if self.ending:
            return
        self.ending = True
        for listener in self.sockets:
            with contextlib.suppress(KeyError):  # not listening yet
                self.poller.unregister(listener)
        threading.Timer(_DRAIN_SECONDS, self._end).start()

    def _end(self) -> None:
        self.alive = False

    def handle_quit(self, *_: object) -> None:
        """End at once (SIGQUIT, SIGINT), with a moment for what is nearly sent.

        gunicorn ends its threads first. Where the signal meets the main thread as it hands them a connection, that
        waits for a lock which this thread itself holds, and the arbiter has to kill the worker.
        """
        self.alive = False
        time.sleep(_QUIT_SECONDS)
        os._exit(0)

    def enqueue_req(self, conn: gthread.TConn) -> None:
        """Hand a connection to the threads; one that has gone already must not end the worker (gunicorn 23)."""
        try:
            super().enqueue_req(conn)
        except OSError:
            self.nr_conns -= 1
            conn.close()

    def handle(self, conn: gthread.TConn) -> Any:
        """Read one request and answer it; runs in a thread."""
        assert isinstance(conn, Connection)  # noqa: S101 - see above
        conn.await_header()
        if not self.cfg.is_ssl:
            conn.refuse_tls()
        try:
            return super().handle(conn)
        finally:
            conn.has_header()

    def handle_request(self, req: Any, conn: gthread.TConn) -> Any:
        """Answer one request."""
        assert isinstance(conn, Connection)  # noqa: S101
        conn.has_header()
        return super().handle_request(req, conn)

    def _watch(self) -> None:
        while not self.done.wait(_TICK_SECONDS):
            now = time.monotonic()
            for conn in _open.copy():
                if conn.deadline is not None and now > conn.deadline:
                    conn.cut()
            if not self.alive:
                # gunicorn 23 gives no sign of life while it waits for what is under way.
                self.notify()

    def _prove(self) -> None:
        # On Linux a thread has a priority of its own: requests come first.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        application = self.app.wsgi()
        while not self.done.is_set():
            application.library.prove_all(self.done)
            self.done.wait(_PROVE_AGAIN_SECONDS)
