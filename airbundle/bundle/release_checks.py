"""Checks of a release: what must hold before it counts as up (docs/deploy.md). Values only; nobody is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airbundle.bundle.fields import Field, ListOf, Record, Text, Whole
from airbundle.bundle.reading import Values
from airbundle.bundle.terms import DURATION, dns_label

KINDS = ("http", "tcp", "tls", "exec", "sql", "redis")
DEFAULT_QUERY = "select 1"

_FILLED = r"\{\{[^{}\n]*\}\}"
_LABEL_VALUE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_LABEL = rf"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?{_LABEL_VALUE}=(?:{_LABEL_VALUE})?"
_WORKLOADS = "Deployment|StatefulSet|DaemonSet|Job|Pod"


_PLACE = Text(
    "HOST:PORT, such as turn.{{ site.domain }}:5349",
    rf"(?:\[[0-9a-fA-F:.]+\]|(?:[^\s{{}}:/\[\]]|{_FILLED})+):[1-9][0-9]{{0,4}}",
    limit=512,
)
_POD = Text(
    "KIND/NAME of a Deployment, StatefulSet, DaemonSet, Job or Pod, or labels such as app=postgres,role=primary",
    rf"(?:{_WORKLOADS})/[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|{_LABEL}(?:,{_LABEL})*",
    limit=1024,
)
_CONTAINER = Field(dns_label("a container's name"), "The container; the pod's first by default")
_POD_FIELD = Field(_POD, "A pod of the release's namespace; any ready one of those that fit", required=True)
_WORD = Text("text of one line", r"[^\n\r\x00]+")

CHECK = Record(
    "a check",
    {
        "http": Field(
            Text(
                "an http:// or https:// URL; it may hold {{ site.NAME }}",
                rf"https?://(?:[^\s{{}}]|{_FILLED})+",
            ),
            "The URL that is asked after the release is deployed; NAME.NAMESPACE.svc is a service of the cluster",
        ),
        "status": Field(Whole(100, 599), "The status that it must answer; 200 by default"),
        "body": Field(_WORD, "Text that must stand in its answer"),
        "tcp": Field(_PLACE, "Where a connection must be taken"),
        "tls": Field(_PLACE, "Where a certificate must chain to the site's CA and be for this host"),
        "days": Field(Whole(0, 3650), "How many days the certificate must still be valid; 1 by default"),
        "exec": Field(
            Record(
                "exec",
                {
                    "pod": _POD_FIELD,
                    "container": _CONTAINER,
                    "command": Field(
                        ListOf(Text("an argument", r"[^\x00]+"), least=1),
                        "Program and arguments, without a shell; it must end with 0",
                        required=True,
                    ),
                },
            ),
            "A command in a pod that must end with 0",
        ),
        "sql": Field(
            Record(
                "sql",
                {
                    "pod": _POD_FIELD,
                    "container": _CONTAINER,
                    "database": Field(
                        Text("a database's name", r"[A-Za-z0-9_][A-Za-z0-9_.-]*", limit=63), "The database"
                    ),
                    "user": Field(
                        Text("a role's name", r"[^\s\x00-]\S*", limit=63), "The role; psql's own default else"
                    ),
                    "query": Field(_WORD, f"What must be answered without an error; `{DEFAULT_QUERY}` by default"),
                },
            ),
            "A query by psql in a pod of PostgreSQL",
        ),
        "redis": Field(
            Record("redis", {"pod": _POD_FIELD, "container": _CONTAINER}),
            "A PING by redis-cli in a pod of Redis, which must answer PONG",
        ),
        "timeout": Field(DURATION, "How long it may take to hold; the release's timeout by default"),
    },
    one_of=KINDS,
    goes_with={"status": ("http",), "body": ("http",), "days": ("tls",)},
)


@dataclass(frozen=True)
class PodCheck:
    """What is run in a pod: labels or KIND/NAME, container, and the command or the query."""

    pod: str
    container: str = ""
    command: tuple[str, ...] = ()
    database: str = ""
    user: str = ""
    query: str = ""

    def meaning(self) -> dict[str, Any]:
        """Return what is set."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Check:
    """One thing that must hold: exactly one of `http`, `tcp`, `tls`, `exec`, `sql` and `redis` is set.

    Attributes:
        status, body: of the answer to `http`: its status, and text that must stand in it.
        days: how long the certificate of `tls` must still be valid.
        timeout: a duration; empty for that of the release.
    """

    http: str = ""
    status: int = 200
    body: str = ""
    tcp: str = ""
    tls: str = ""
    days: int = 1
    exec: PodCheck | None = None
    sql: PodCheck | None = None
    redis: PodCheck | None = None
    timeout: str = ""
    where: str = field(default="", compare=False, repr=False)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return next(name for name in KINDS if getattr(self, name))

    @property
    def in_pod(self) -> PodCheck | None:
        """What is run in a pod; None for those that go over the network."""
        return self.exec or self.sql or self.redis

    def texts(self) -> Iterator[str]:
        """Yield the texts that may hold `{{ site.NAME }}`."""
        yield from (self.http, self.body, self.tcp, self.tls)
        for pod in (self.exec, self.sql, self.redis):
            yield from (*pod.command, pod.query) if pod else ()

    def meaning(self) -> dict[str, Any]:
        """Return what counts for the lock, in the words of the document."""
        if self.http:
            body: dict[str, Any] = {"http": self.http, "status": self.status}
        else:
            body = {self.kind: self.in_pod.meaning() if self.in_pod else self.tcp or self.tls}
        if self.tls:
            body["days"] = self.days
        return {**body, **{name: text for name in ("body", "timeout") if (text := getattr(self, name))}}


def read_check(values: Values) -> Check:
    """Turn a read record into a check."""
    return Check(
        http=values.text("http"),
        status=values.whole("status", 200),
        body=values.text("body"),
        tcp=values.text("tcp"),
        tls=values.text("tls"),
        days=values.whole("days", 1),
        exec=_in_pod(values.record("exec")),
        sql=_in_pod(values.record("sql")),
        redis=_in_pod(values.record("redis")),
        timeout=values.text("timeout"),
        where=values.where,
    )


def _in_pod(values: Values | None) -> PodCheck | None:
    if values is None:
        return None
    words = {name: values.text(name) for name in ("pod", "container", "database", "user", "query")}
    return PodCheck(**words, command=values.texts("command"))
