"""Running the server: gunicorn, embedded. It forks workers, so that TLS and hashing use all cores.

Everything is opened before the fork, and nothing is imported after it: the program may be a zip file that an update
replaces while it runs. SIGTERM and SIGINT end it, SIGHUP reads the configuration again, SIGUSR1 opens the access log
again.
"""

from __future__ import annotations

import contextlib
import gc
import linecache
import logging
import os
import resource
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from airbundle.bundle.serving import ServerConfig, join_host
from airbundle.errors import AirbundleError, NoPermission, UsageError
from airbundle.server.app import App, make_app
from airbundle.server.library import Check
from airbundle.server.listen import listen
from airbundle.server.worker import Arbiter, Worker, ending_waits

logger = logging.getLogger(__name__)

_STOP_SECONDS = 10
_KEEPALIVE_SECONDS = 60
_WORKERS = 4
_FILES = 65536
_ACCESS = '%(h)s %(t)s "%(r)s" %(s)s %({content-length}o)s %(M)sms "%(a)s"'


def serve(read: Callable[[], ServerConfig], ready: Callable[[str, App], None], *, check: Check | None = None) -> None:
    """Serve until SIGTERM or SIGINT; returns when the last worker has ended.

    Args:
        read: gives the configuration; called again at SIGHUP. Host and port of the first one stay.
        ready: is told the URL, with the real port, once connections are taken.
        check: raises when a bundle is not to be served, such as for its signature.

    Raises:
        UsageError, VerificationError: bundles or certificate can't be used.
        SiteError, NoPermission: the address is taken, or not ours to take.
    """
    loader = _Loader(read, check)
    app, context = loader.load()
    config = app.config
    listener = listen(config.host, config.port)
    url = f"{config.scheme}://{join_host(config.host, listener.getsockname()[1])}"
    _allow_files()
    print_no_sources()
    gc.collect()
    gc.freeze()
    master = os.getpid()
    with ending_waits():  # gunicorn makes a line and exit code 1 of all that is raised while it reads its settings
        server = _Gunicorn(loader, app, listener=listener.detach(), context=context, ready=lambda app: ready(url, app))
    with ending_waits():  # and of what is raised while it imports its own parts
        arbiter = Arbiter(server)
    try:
        arbiter.run()
    except SystemExit as ended:
        if ended.code and os.getpid() == master:
            raise AirbundleError(f"the server ended with {ended.code}", hint="see what it printed before") from None
    finally:
        if os.getpid() != master:
            # A worker must not go on as if it were the command that started it.
            logging.shutdown()
            os._exit(0)
    server.app.close()


class _Loader:
    """Reads the configuration and opens all that it names."""

    def __init__(self, read: Callable[[], ServerConfig], check: Check | None) -> None:
        self._read = read
        self._check = check

    def load(self) -> tuple[App, _TlsContext | None]:
        """Return the application and, where there is a certificate, the TLS context."""
        config = self._read()
        _check_access_log(config)
        context = _tls_context(config)
        return make_app(config, self._check), context


class _Gunicorn(BaseApplication):
    def __init__(
        self,
        loader: _Loader,
        app: App,
        *,
        listener: int,
        context: _TlsContext | None,
        ready: Callable[[App], None],
    ) -> None:
        self._loader = loader
        self.app = app
        self._listener = listener
        self._context = context
        self._ready = ready
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's settings."""
        config = self.app.config
        settings: dict[str, Any] = {
            "bind": f"fd://{self._listener}",
            "workers": config.workers or min(_WORKERS, len(os.sched_getaffinity(0))),
            "worker_class": Worker,
            "threads": config.threads,
            "preload_app": True,
            "keepalive": _KEEPALIVE_SECONDS,
            "graceful_timeout": _STOP_SECONDS,
            "loglevel": "warning",
            "accesslog": config.access_log or None,
            "access_log_format": _ACCESS,
            # No proxy is trusted to say who asks, or by which scheme.
            "forwarded_allow_ips": "",
            "when_ready": lambda _: self._ready(self.app),
            # Newer versions' door for a remote control.
            "control_socket_disable": True,
        }
        if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes a file of its own there, its heartbeat
            settings["worker_tmp_dir"] = "/dev/shm"  # noqa: S108
        if self._context is not None:
            context = self._context
            settings["certfile"], settings["keyfile"] = str(config.tls_cert), str(config.tls_key)
            settings["ssl_context"] = lambda _config, _default: context.current()
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> App:
        """Return the WSGI application."""
        return self.app

    def reload(self) -> None:
        """Read the configuration again (SIGHUP); what can't be served changes nothing."""
        try:
            app, context = self._loader.load()
        except AirbundleError as error:
            logger.error("the new configuration is not taken: %s", error.problem)  # noqa: TRY400 - told in full
            return
        # Its workers have descriptors of their own and go on until they have sent what they began.
        self.app.close()
        self.app, self.callable, self._context = app, None, context
        self.do_load_config()


def _tls_context(config: ServerConfig) -> _TlsContext | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return _TlsContext(config.tls_cert, config.tls_key)


class _TlsContext:
    """The certificate, read again when its files change, so that a renewed one needs no restart."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._paths = (cert, key)
        self._seen = self._look()
        self._context = self._load()

    def current(self) -> ssl.SSLContext:
        """Return a context with the certificate as it is now, or as it was when it could last be used."""
        with contextlib.suppress(OSError):
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._context = self._load()
                except AirbundleError as error:
                    logger.error("the new certificate is not taken: %s", error.problem)  # noqa: TRY400 - told in full
        return self._context

    def _look(self) -> list[tuple[int, int, int]]:
        return [(s.st_ino, s.st_mtime_ns, s.st_size) for s in (path.stat() for path in self._paths if path.exists())]

    def _load(self) -> ssl.SSLContext:
        cert, key = self._paths
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # A passphrase is never asked for: nobody sits there.
            context.load_cert_chain(cert, key, password=lambda: b"")
        except PermissionError as error:
            raise NoPermission(
                f"read {cert} and {key}: {error.strerror}", hint="run as the user they belong to"
            ) from None
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--tls-cert {cert}, --tls-key {key}: {error}",
                hint="give a PEM certificate chain and its PEM private key without a passphrase",
            ) from None
        return context


def _check_access_log(config: ServerConfig) -> None:
    if config.access_log in {"", "-"}:
        return
    try:
        Path(config.access_log).open("ab").close()
    except OSError as error:
        raise NoPermission(
            f"write the access log {config.access_log}: {error.strerror}", hint="name a file that this user may write"
        ) from None


def print_no_sources() -> None:
    """Make tracebacks of this process name lines without their text.

    Python would read the text from the zip file that the program runs from. Where an update has replaced that file,
    this raises what nobody expects while an error is told of (EOFError), and a told error becomes the end of serving.
    """
    vars(linecache)["lazycache"] = lambda *_: False


def _allow_files() -> None:
    """Raise the soft limit of open files: a connection may need two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
