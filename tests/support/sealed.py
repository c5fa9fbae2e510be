"""Real Kubernetes clusters for tests: sealed ones of this machine, or the one that the caller's KUBECONFIG names.

    with sealed_site(nodes=2) as site:
        site.kubectl("get", "nodes")
        site.host("ls", "/etc/containerd")            # on the operator's host, which is node1
        site.node(2, "ls", "/etc/containerd/certs.d")
        site.airbundle("status", "--json")             # this checkout's, on the operator's host
        Kubeconfig(site.kubeconfig) …                  # the API, from this very process

The sealed clusters come from a program of their own, `up`, `in` and `down` in the directory that AIRBUNDLE_SITE_BOX
names (or `../shared/site` beside the checkout): real nodes in namespaces, cut off from everything, with files of their
own below /etc, /usr, /opt, /srv, /var and /run; all else, such as this checkout and /tmp, is the machine's.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from _pytest.outcomes import Skipped

from tests.support.forward import forwarded
from tests.support.terminal import OnTerminal

BOX = "AIRBUNDLE_SITE_BOX"
CLUSTER = "AIRBUNDLE_TEST_CLUSTER"
"""Set by scripts/test-site: take the cluster of KUBECONFIG, whatever else is there."""
NODE_COMMAND = "AIRBUNDLE_TEST_NODE"
"""What takes a line for a shell to a node of such a cluster: `ssh root@{node}`, `docker exec -i {node} sh -c`."""

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT = 600.0
"""Seconds that one command may take before it counts as hanging. Not a performance bar."""

_WATCHERS = (12, 8)
"""inotify instances that a cluster takes, and each of its nodes, as was seen (API server and controllers, kubelets)."""

AIRBUNDLE = (sys.executable, "-m", "airbundle")

Answer = subprocess.CompletedProcess


class NotThere(Skipped):
    """There is no cluster to test on, or no way to its nodes: a test is left out, and says why in one line."""


class Failed(AssertionError):
    """A command at the site failed; the text has what it said."""


@dataclass
class Site:
    """A cluster that answers, and the hosts around it.

    Attributes:
        name: of this cluster, for messages.
        nodes: names of its nodes, as Kubernetes has them.
        addresses: their addresses, in the same order.
        kubeconfig: leads to its API from this process.
        sealed: whether it is ours, cut off from everything, and may be changed at will.
    """

    name: str
    nodes: tuple[str, ...]
    addresses: tuple[str, ...]
    kubeconfig: Path
    sealed: bool
    _host: Callable[[], list[str]]
    _node: Callable[[int, Sequence[str]], list[str]]
    _restart: Callable[[], None] = field(repr=False)

    def host(
        self,
        *command: str | Path,
        check: bool = True,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Answer[str]:
        """Run a command as root on the operator's host (of a sealed cluster: node1) and return what it said.

        Raises:
            Failed: it ended with another code than 0, and `check` is set.
        """
        return _run([*self._host(), *map(str, command)], check=check, stdin=stdin, env=env, cwd=cwd)

    def node(self, number: int, *command: str | Path, check: bool = True, stdin: str = "") -> Answer[str]:
        """Run a command as root on a node, counted from 1.

        Raises:
            Failed: it ended with another code than 0, and `check` is set.
        """
        return _run(self._node(number, list(map(str, command))), check=check, stdin=stdin)

    def start(
        self, *command: str | Path, env: Mapping[str, str] | None = None, log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command on the operator's host and return at once: for what is to be killed, or to go on beside.

        It dies with the returned process; signals sent to that one are passed on. Its output goes to `log`.
        """
        with (log or Path(os.devnull)).open("ab") as output:
            return subprocess.Popen(
                [*self._host(), *map(str, command)],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def terminal(self, *command: str | Path) -> OnTerminal:
        """Start a command on the operator's host, on a terminal whose lines are long."""
        return OnTerminal([*self._host(), *map(str, command)], columns=1000)

    def watch(self, *command: str | Path) -> None:
        """Run a command on the operator's host for as long as it takes, in front of whoever looks on.

        Raises:
            Failed: it ended with another code than 0.
        """
        done = subprocess.run([*self._host(), *map(str, command)], stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}")

    def airbundle(
        self, *words: str | Path, check: bool = True, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> Answer[str]:
        """Run this checkout's airbundle on the operator's host."""
        return self.host(*AIRBUNDLE, *words, check=check, env=env, cwd=cwd)

    def python(self, code: str, *arguments: str | Path) -> str:
        """Run Python code with this checkout's environment on the operator's host; return what it printed."""
        return self.host(sys.executable, "-c", code, *arguments, cwd=CHECKOUT).stdout

    def kubectl(self, *words: str | Path, check: bool = True, stdin: str = "") -> str:
        """Run kubectl, as the cluster's administrator, and return what it printed."""
        return self.host("kubectl", *words, check=check, stdin=stdin).stdout

    def get(self, *words: str) -> dict[str, Any]:
        """Return what `kubectl get … -o json` says."""
        document: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return document

    def apply(self, manifest: str | Path) -> str:
        """Run `kubectl apply` on a manifest's text or file."""
        if isinstance(manifest, Path):
            return self.kubectl("apply", "-f", manifest)
        return self.kubectl("apply", "-f", "-", stdin=manifest)

    def restart(self) -> None:
        """Reboot all nodes of a sealed cluster: its pods start again, processes that nobody starts at boot are gone."""
        self._restart()


def _run(
    command: list[str],
    *,
    check: bool,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Answer[str]:
    done = subprocess.run(
        command,
        input=stdin,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT,
        check=False,
    )
    if check and done.returncode:
        raise Failed(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def find_box() -> Path:
    """Return the directory of `up`, `in` and `down`.

    Raises:
        NotThere: no sealed cluster can be started here; says why.
    """
    named = os.environ.get(BOX)
    box = Path(named) if named else CHECKOUT.parent / "shared" / "site"
    if not (box / "up").is_file():
        raise NotThere(f"no sealed cluster in {box}: name the directory of its `up` in {BOX}")
    if os.geteuid() != 0:
        raise NotThere("a sealed cluster needs root")
    if not (_box_home() / "images" / "probe.tar").exists():
        raise NotThere(f"the sealed cluster is not built: {box}/build does that (once a machine, 7 to 20 minutes)")
    return box


def check_room(nodes: int) -> None:
    """Look whether the kernel has what a cluster needs: without, `up` waits for its kubelets for many minutes.

    Raises:
        RuntimeError: too many clusters run on this machine already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    needed = _WATCHERS[0] + _WATCHERS[1] * nodes
    opened: list[int] = []
    try:
        for _ in range(needed):
            descriptor = libc.inotify_init1(os.O_CLOEXEC)
            if descriptor < 0:
                raise RuntimeError(
                    f"the kernel has {len(opened)} inotify instances left, of {needed} that a cluster of {nodes} nodes "
                    "takes: stop other clusters, or raise fs.inotify.max_user_instances"
                )
            opened.append(descriptor)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _box_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SITE_HOME") or Path(cache) / "airbundle-site")


@contextmanager
def sealed_site(*, nodes: int = 2) -> Iterator[Site]:
    """Start a sealed cluster of one or two nodes, for the length of a `with` block; nothing of it is left after.

    Raises:
        NotThere: none can be started here.
        RuntimeError: too many run here already.
    """
    box = find_box()
    check_room(nodes)
    directory = Path(tempfile.mkdtemp(prefix="airbundle-site-"))
    name = directory.name.lower().replace("_", "-")
    env = {**os.environ, "SITE_NAME": name}
    # Whatever ends this process, the cluster goes: the shell waits for the end of its input, in a session of its own.
    script = '"$0/down" --wipe >/dev/null; rm -rf "$1"'
    guard = subprocess.Popen(
        ["setsid", "sh", "-c", f"trap '' INT TERM HUP; cat >/dev/null; {script}", box, directory],
        stdin=subprocess.PIPE,
        env=env,
    )
    assert guard.stdin is not None
    try:
        yield from _running_site(box, name, nodes, directory)
    finally:
        guard.stdin.close()
        guard.wait()


def _running_site(box: Path, name: str, nodes: int, directory: Path) -> Iterator[Site]:
    # SITE_NAME goes by argument, so that a test may set an environment of its own.
    def inside(number: int = 1, command: Sequence[str] = ()) -> list[str]:
        return ["env", f"SITE_NAME={name}", str(box / "in"), "--node", str(number), *command]

    def up() -> None:
        _run(["env", f"SITE_NAME={name}", str(box / "up"), "--nodes", str(nodes)], check=True)

    def restart() -> None:
        _run(["env", f"SITE_NAME={name}", str(box / "down")], check=True)
        up()

    up()
    pid_file = _box_home() / "sites" / name / "node1.pid"
    admin = yaml.safe_load(_run([*inside(), "cat", "/etc/kubernetes/admin.conf"], check=True).stdout)
    addresses = tuple(f"10.203.0.{10 + number}" for number in range(1, nodes + 1))
    with forwarded(lambda: int(pid_file.read_text()), (addresses[0], 6443)) as port:
        admin["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(admin))
        kubeconfig.chmod(0o600)
        names = tuple(f"node{number}" for number in range(1, nodes + 1))
        yield Site(name, names, addresses, kubeconfig, True, inside, inside, restart)


def own_cluster() -> Site:
    """Return the cluster that KUBECONFIG names; this machine is the operator's host.

    Raises:
        NotThere: there is no kubectl, or the cluster does not answer.
    """
    named = os.environ.get("KUBECONFIG", "")
    kubeconfig = Path(named) if named else Path.home() / ".kube" / "config"
    kubectl = Path(sys.executable).with_name("kubectl")
    done = _run([str(kubectl), "get", "nodes", "-o", "json"], check=False)
    if done.returncode:
        raise NotThere(f"the cluster of {kubeconfig} does not answer: {done.stderr.strip()[:300]}")
    items = json.loads(done.stdout)["items"]
    nodes = tuple(str(item["metadata"]["name"]) for item in items)
    addresses = tuple(_internal_address(item) for item in items)

    def on_host() -> list[str]:
        return ["env", f"PATH={kubectl.parent}:{os.environ['PATH']}"]

    def on_node(number: int, command: Sequence[str]) -> list[str]:
        template = os.environ.get(NODE_COMMAND)
        if not template:
            raise NotThere(f"no way to the nodes of this cluster: {NODE_COMMAND}='ssh root@{{node}}' names one")
        # As one word: what ssh is given as several, a shell there takes apart anew.
        return [*(word.replace("{node}", nodes[number - 1]) for word in template.split()), shlex.join(command)]

    def restart() -> None:
        raise NotThere("the nodes of a cluster that is not ours are not restarted")

    return Site(str(kubeconfig), nodes, addresses, kubeconfig, False, on_host, on_node, restart)


def _internal_address(node: Mapping[str, Any]) -> str:
    listed = node["status"]["addresses"]
    return next((str(each["address"]) for each in listed if each["type"] == "InternalIP"), "")


@contextmanager
def any_site(*, nodes: int = 2) -> Iterator[Site]:
    """Yield the cluster of KUBECONFIG where scripts/test-site asks for it, a sealed one otherwise.

    Raises:
        NotThere: neither can be had.
    """
    if os.environ.get(CLUSTER):
        yield own_cluster()
    else:
        with sealed_site(nodes=nodes) as site:
            yield site


if __name__ == "__main__":
    try:
        print(find_box())
    except NotThere as error:
        sys.exit(str(error))
