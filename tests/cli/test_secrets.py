"""No secret leaves: the whole path, with passwords, tokens, passphrases and signed URLs, and then all that it wrote.

Searched are stdout and stderr of every run (texts with `--verbose`, and `--json`), every file that a run made (locks,
bundles, caches, state directories, journals, server logs, what is left in TMPDIR), the command lines of all processes
below each run, and the environments of the programs that a run started. Each secret is looked for as it is, encoded for
a URL, and inside base64 of anything.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.support.charts import ChartRepository, chart_repository
from tests.support.helm import HELM, helm, write_chart
from tests.support.images import cosign_signature, tiny_image
from tests.support.process import free_port
from tests.support.registries import PASSWORD, USER, Registry, run_registry
from tests.support.storage import Storage
from tests.support.tls import Authority
from tests.transfer.servers import FaultServer, Turn, fault_server

PASSPHRASE = "p@ss/phrase+& 42%"
WRONG = "wr0ng/passw0rd+&"
PROXY = "pr0xy/S3cret+word"
SIGNED = "S1GNED/9f8e7d6c5b4a+="
INDEX = "p1p/Ind3x+secret"
SECRETS = {"password": PASSWORD, "passphrase": PASSPHRASE, "wrong": WRONG, "proxy": PROXY, "URL": SIGNED, "pip": INDEX}


def forms(secret: str) -> set[bytes]:
    """Return how a secret may look: plain, encoded for URLs, and the part of base64 that is always the same."""
    found = {secret.encode(), quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    for lead in range(3):  # what stands before it, such as `user:`, shifts the groups of three bytes
        whole = base64.b64encode(b"x" * lead + secret.encode())
        first = 0 if lead == 0 else 4
        found.add(whole[first : (len(secret) + lead) // 3 * 4])
    return {form for form in found if len(form) >= 8}


@dataclass
class Outside:
    """The servers of the world outside."""

    basic: Registry
    tokens: Registry
    charts: ChartRepository
    redirecting: FaultServer
    ca_file: Path


@dataclass
class Journey:
    """A release engineer, a site, and everything that their runs gave away.

    Attributes:
        root: what is below it was written by airbundle, and is searched; but for `given`.
        given: files that hold secrets because a person put them there.
        seen: outputs, command lines and environments, by where they were seen.
    """

    root: Path
    given: Path
    outside: Outside
    port: int = field(default_factory=free_port)
    seen: dict[str, bytes] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment of a run, with a private home, and a helm that tells what it was given."""
        kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        homes = {name: str(self.root / name.lower()) for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR")}
        path = f"{self.given / 'bin'}:{kept['PATH']}"
        own = {"PATH": path, "AIRBUNDLE_HELM": str(self.given / "bin/helm"), "AIRBUNDLE_RETRY_SECONDS": "0"}
        return {**kept, **homes, **own, "DOCKER_CONFIG": str(self.given / "docker"), "TOLD": str(self.given / "told")}

    def run(self, *words: object, code: int = 0, env: Mapping[str, str] | None = None) -> str:
        """Run airbundle to the end it must have; keep all that could be seen of it."""
        command = [sys.executable, "-m", "airbundle", *map(str, words), "--verbose"]
        output = subprocess.PIPE
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**self.env, **(env or {})}
        ) as process:
            ended = threading.Event()
            watch = threading.Thread(target=self._watch, args=(process.pid, ended))
            watch.start()
            out, err = process.communicate()
            ended.set()
            watch.join()
        name = f"run {len(self.seen)}: {' '.join(map(str, words))}"
        self.seen[f"{name}: stdout"], self.seen[f"{name}: stderr"] = out, err
        assert process.returncode == code, (command, out.decode(), err.decode())
        assert b"Traceback" not in err, err.decode()
        return out.decode()

    def fail(self, *words: object, code: int, env: Mapping[str, str] | None = None) -> None:
        """Run airbundle so that it fails: texts go to stderr, also with `--json`."""
        self.run(*words, "--json", code=code, env=env)

    def _watch(self, pid: int, ended: threading.Event) -> None:
        while not ended.wait(0.005):
            for process in descendants(pid):
                self.look(process, environment=process != pid)

    def look(self, pid: int, *, environment: bool = True) -> None:
        """Keep the command line of a process, and what is in its environment."""
        try:
            self.seen[f"process {pid}: command line"] = Path(f"/proc/{pid}/cmdline").read_bytes()
            if environment:
                self.seen[f"process {pid}: environment"] = without_proxy(Path(f"/proc/{pid}/environ").read_bytes())
        except OSError:
            pass  # it has just ended

    def leaks(self) -> list[str]:
        """Return which secret was found where."""
        secrets = dict(SECRETS)
        assert self.outside.tokens.tokens is not None
        for number, token in enumerate(self.outside.tokens.tokens.issued):
            secrets[f"token {number}"] = token.rpartition(".")[2]  # the signature: without it a token is nothing
        secrets.update((f"refresh {n}", t) for n, t in enumerate(self.outside.tokens.tokens.refresh_tokens))
        wanted = {form: name for name, secret in secrets.items() for form in forms(secret)}
        places = {**self.seen, **dict(self._files())}
        return [
            f"{name} in {place}: {data[max(0, data.find(form) - 80) : data.find(form) + 80]!r}"
            for place, data in places.items()
            for form, name in wanted.items()
            if form in data
        ]

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for top, directories, names in os.walk(self.root):
            if Path(top) == self.given:
                directories.clear()
                names = ["told"]
            for name in names:
                path = Path(top, name)
                if path.is_file() and not path.is_symlink():
                    data = path.read_bytes()
                    yield f"file {path.relative_to(self.root)}", without_proxy(data) if name == "told" else data


def without_proxy(environment: bytes) -> bytes:
    """Return an environment without its proxies: programs that go outside need those, whatever is in them."""
    parts = environment.replace(b"\n", b"\0").split(b"\0")
    return b"\0".join(
        part for part in parts if b"proxy=" not in part.lower() and not part.startswith(b"PIP_INDEX_URL=")
    )


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += descendants(int(child))
    except OSError:
        pass
    return found


@pytest.fixture
def outside(tmp_path: Path, authority: Authority) -> Iterator[Outside]:
    """Return upstreams that want to know who asks, and one whose blobs lie behind signed URLs."""
    charts = tmp_path / "charts"
    for name, version in (("app", "1.0.0"),):
        helm("package", write_chart(charts, name, version), "-d", charts / "packages", home=charts / "helm")
    images = Storage(tmp_path / "images")
    with ExitStack() as stack:
        basic = stack.enter_context(run_registry(tmp_path / "basic", tls=authority, auth="basic"))
        tokens = stack.enter_context(run_registry(tmp_path / "tokens", tls=authority, auth="token"))
        image = tiny_image("basic")
        image.put(Storage(basic.storage), "team/app", "1")
        cosign_signature(image.descriptor, "x").put(
            Storage(basic.storage), "team/app", f"{image.digest.replace(':', '-')}.sig"
        )
        tiny_image("tokens").put(Storage(tokens.storage), "team/app", "1")
        repository = stack.enter_context(
            chart_repository(charts / "packages", charts / "served", tls=authority, auth=True)
        )
        blobs = stack.enter_context(fault_server(lambda turn, _: signed_blob(turn, images), tls=authority))
        for name in ("good", "broken"):
            tiny_image(name).put(images, name, "1")
        redirecting = stack.enter_context(
            fault_server(lambda turn, _: redirect(turn, images, blobs.url), tls=authority, host="127.0.0.2")
        )
        yield Outside(basic, tokens, repository, redirecting, authority.ca_file)


def redirect(turn: Turn, images: Storage, blobs: str) -> None:
    """Answer as a registry whose blobs lie in a blob storage."""
    _, _, name, kind, ref = (turn.path.partition("?")[0].split("/") + [""] * 5)[:5]
    if kind == "blobs":
        turn.reply(307, b"", {"Location": f"{blobs}/{name}/{ref}?X-Amz-Signature={quote(SIGNED, safe='')}"})
    elif kind == "manifests":
        digest = ref if ":" in ref else images.tags().get(f"{name}:{ref}", "")
        path = images.blob_path(digest) if digest else None
        if path is None or not path.exists():
            turn.reply(404)
            return
        raw = path.read_bytes()
        turn.reply(200, raw, {"Content-Type": json.loads(raw)["mediaType"], "Docker-Content-Digest": digest})
    else:
        turn.reply(200)


def signed_blob(turn: Turn, images: Storage) -> None:
    """Answer as a blob storage: it wants the signature, and repeats it when it refuses."""
    assert quote(SIGNED, safe="") in turn.path
    if "/broken/" in turn.path:
        turn.reply(403, f"<Error><Code>SignatureDoesNotMatch</Code>{SIGNED} {turn.path}</Error>".encode())
        return
    turn.blob(images.blob_path(turn.path.partition("?")[0].rpartition("/")[2]).read_bytes())


@pytest.fixture
def path(tmp_path: Path, outside: Outside) -> Iterator[Journey]:
    """Return a path that is ready to be gone."""
    root = tmp_path / "root"
    given = root / "given"
    for directory in (given / "bin", root / "tmpdir", root / "home"):
        directory.mkdir(parents=True)
    made = Journey(root, given, outside)
    tell = 'tr "\\0" "\\n" < /proc/$$/cmdline >> "$TOLD"; env >> "$TOLD"'
    answer = json.dumps({"ServerURL": outside.basic.host, "Username": USER, "Secret": PASSWORD})
    for name, last in (("helm", f'exec {HELM} "$@"'), ("docker-credential-test", f"echo '{answer}'")):
        program = given / "bin" / name
        program.write_text(f"#!/bin/sh\n{tell}\n{last}\n")
        program.chmod(0o755)
    (given / "passphrase").write_text(f"{PASSPHRASE}\n")
    (given / "wrong").write_text(f"{WRONG}\n")
    write_credentials(made)
    yield made
    made.run("uninstall", "--yes", "--state-dir", root / "embedded")


def write_credentials(path: Journey) -> None:
    """Write `registries.yaml` in a good and a wrong edition, and docker's configuration with a helper."""
    outside = path.outside
    chart_host = outside.charts.url.partition("://")[2].partition("/")[0]
    for name, password in (("good", PASSWORD), ("wrong", WRONG)):
        tls = {"ca_file": str(outside.ca_file)}
        auth = {"username": USER, "password": password}
        configs = {host: {"tls": tls, "auth": auth} for host in (outside.basic.host, outside.tokens.host, chart_host)}
        configs[outside.redirecting.host] = {"tls": tls}
        (path.given / f"{name}.yaml").write_text(json.dumps({"configs": configs}))
    trusting = {host: {"tls": {"ca_file": str(outside.ca_file)}} for host in (outside.basic.host, outside.tokens.host)}
    (path.given / "tls.yaml").write_text(json.dumps({"configs": trusting}))
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (path.given / "docker").mkdir()
    (path.given / "docker/config.json").write_text(
        json.dumps({"auths": {outside.tokens.host: {"auth": token}}, "credHelpers": {outside.basic.host: "test"}})
    )


def inventory(path: Journey, name: str, images: list[str], *, charts: bool = True) -> Path:
    """Write an inventory and return its directory."""
    directory = path.root / name
    directory.mkdir()
    chart = {"name": "app", "repo": path.outside.charts.url, "version": "1.0.0"}
    document = {
        "apiVersion": "airbundle.dev/v1",
        "kind": "Bundle",
        "metadata": {"name": name, "version": "1.0.0"},
        "images": images,
        "charts": [chart] if charts else [],
    }
    (directory / "bundle.yaml").write_text(json.dumps(document))
    return directory


def connected(path: Journey) -> Path:
    """Go the release engineer's way, and return the bundle."""
    outside = path.outside
    good = ["--registries", path.given / "good.yaml"]
    key, public = path.root / "release.key", path.root / "release.pub"
    path.run("key", "generate", "-o", key, env={"AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE})
    path.run("key", "public", key, "--passphrase-file", path.given / "passphrase", "--json")
    hosts = [outside.basic.host, outside.tokens.host]
    listed = [f"{host}/team/app:1" for host in hosts] + [f"{outside.redirecting.host}/good:1"]
    shop = inventory(path, "shop", listed)
    path.run("lock", shop, "--no-installer", *good, env={"AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE})
    output = path.root / "shop.airbundle"
    path.run(
        *("build", shop, "--no-installer", *good, "--key", key, "-o", output),
        env={"AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE},
    )
    again = ["build", shop, "--no-installer", *good, "--key", key, "--passphrase-file", path.given / "passphrase"]
    path.run(*again, "-o", path.root / "again.airbundle", "--json")
    path.run("verify", output, "--key", public)
    path.run("inspect", output)
    ref = f"{outside.basic.host}/bundles/shop:1"
    path.run("publish", output, ref, "--registries", path.given / "tls.yaml")
    path.run("pull", ref, "-o", path.root / "pulled", "--registries", path.given / "tls.yaml")
    return output


def failing_connected(path: Journey) -> None:
    """Meet what upstreams do to a release engineer."""
    outside = path.outside
    good, wrong = (["--registries", path.given / f"{name}.yaml"] for name in ("good", "wrong"))
    for name, host in (("basic", outside.basic.host), ("tokens", outside.tokens.host)):
        made = inventory(path, f"refused-{name}", [f"{host}/team/app:1"])
        path.fail("lock", made, "--no-installer", *wrong, code=4)
    distrusted = {**path.env, "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
    path.fail("lock", path.root / "refused-basic", "--no-installer", code=4, env=distrusted)
    broken = inventory(path, "broken", [f"{outside.redirecting.host}/broken:1"], charts=False)
    path.fail("build", broken, "--no-installer", *good, "-o", path.root / "broken.airbundle", code=4)
    proxies = {name: f"http://carol:{quote(PROXY, safe='')}@127.0.0.1:1" for name in ("HTTPS_PROXY", "HTTP_PROXY")}
    far = inventory(path, "far", ["registry.example.test/team/app:1"])
    path.fail("lock", far, "--no-installer", *good, code=4, env=proxies)
    index = {"PIP_INDEX_URL": f"http://carol:{quote(INDEX, safe='')}@127.0.0.1:1/simple", "PIP_RETRIES": "0"}
    path.fail("installer", "-o", path.root / "airbundle.pyz", code=4, env=index)
    key = path.root / "release.key"
    for extra, env in ((["--passphrase-file", path.given / "wrong"], {}), ([], {"AIRBUNDLE_KEY_PASSPHRASE": WRONG})):
        out = path.root / "never.airbundle"
        path.fail(
            "build", path.root / "shop", "--no-installer", *good, "--key", key, *extra, "-o", out, code=2, env=env
        )


def written_by_people(path: Journey) -> None:
    """Find secrets in URLs where none belongs: they are refused, and not repeated."""
    host = path.outside.basic.host
    secret = quote(PASSWORD, safe="")
    made = inventory(path, "urls", [f"{host}/team/app:1"], charts=False)
    document = json.loads((made / "bundle.yaml").read_text())
    document["charts"] = [{"name": "app", "repo": f"https://{USER}:{secret}@{host}/charts", "version": "1"}]
    document["files"] = [{"url": f"https://{USER}:{secret}@{host}/x", "sha256": "0" * 64}]
    (path.given / "urls").mkdir()
    (path.given / "urls/bundle.yaml").write_text(json.dumps(document))
    shutil.rmtree(made)
    path.fail("lock", path.given / "urls", "--no-installer", code=2)
    document.update(charts=[], files=[], images=[f"{USER}:{PASSWORD}@{host}/team/app:1"])
    (path.given / "urls/bundle.yaml").write_text(json.dumps(document))
    path.fail("lock", path.given / "urls", "--no-installer", code=2)
    (path.given / "urls/registries.yaml").write_text(
        json.dumps(
            {
                "mirrors": {host: {"endpoint": [f"https://{USER}:{secret}@{host}"]}},
                "configs": {host: {"auth": PASSWORD}},
            }
        )
    )
    path.fail("lock", path.root / "shop", "--registries", path.given / "urls/registries.yaml", code=2)
    # This command line holds a password because a person typed it.
    for form in ("--verbose", "--json"):
        words = ["load", path.root / "shop.airbundle", "--registry", f"https://{USER}:{secret}@{host}"]
        words += ["--state-dir", path.root / "typed", "--key", path.root / "release.pub", form]
        done = subprocess.run(
            [sys.executable, "-m", "airbundle", *map(str, words)], env=path.env, capture_output=True, check=False
        )
        assert done.returncode == 2, done.stderr.decode()
        path.seen[f"typed {form}"] = done.stdout + done.stderr


def disconnected(path: Journey, bundle: Path) -> None:
    """Go the operator's way: into registries with basic auth and with tokens, and into the embedded one."""
    outside = path.outside
    public = ["--key", path.root / "release.pub"]
    passphrase = {"AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE}
    for name, registry in (("basic", outside.basic), ("tokens", outside.tokens)):
        state = ["--state-dir", path.root / name]
        target = ["--registry", registry.url, "--registry-ca", registry.ca_file]
        path.run("load", bundle, *target, *public, "--state-dir", path.root / f"load-{name}")
        listen = ["--listen", f"127.0.0.1:{free_port()}"]
        words = ["install", bundle, *target, *public, *state, *listen, "--yes"]
        path.run("preflight", bundle, *target, *public, *listen, "--state-dir", path.root / f"preflight-{name}")
        path.run(*words, *(["--json"] if name == "tokens" else []), env=passphrase)
        path.look(int(json.loads((path.root / name / "run/server.json").read_text())["pid"]))
        path.run("status", *state)
        path.run("trust", "show", *state)
        (path.root / f"{name}-state").mkdir()
        shutil.copytree(path.root / name, path.root / f"{name}-state/kept", symlinks=True)
        path.run("uninstall", "--yes", *state)
    words = ["install", bundle, *public, "--state-dir", path.root / "embedded", "--listen", f"127.0.0.1:{path.port}"]
    path.run(*words, "--yes", env=passphrase)
    path.run("status", "--state-dir", path.root / "embedded")
    for name in ("tokens-state/kept", "embedded"):
        supported(path, path.root / name)


def supported(path: Journey, state: Path) -> None:
    """Write a support archive, and look into it; and a backup, whose passphrase is known."""
    output = path.root / f"{state.name}-support.tar.gz"
    # What a person has left in a log is no secret of ours to keep, and still must not leave.
    with (state / "log/server.log").open("a") as log:
        log.write(
            f"password: {PASSWORD}\nGET https://{USER}:{quote(PASSWORD, safe='')}@h/x?sig={quote(SIGNED, safe='')}\n"
        )
    path.run("support", "-o", output, "--state-dir", state)
    with tarfile.open(output) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None
            data = stream.read()
            path.seen[f"{output.name}: {member.name}"] = data
            assert b"PRIVATE KEY" not in data
    keys = [line for key in state.rglob("*.key") for line in key.read_bytes().splitlines() if b"-----" not in line]
    words = [kept.read_bytes().strip() for kept in state.rglob("*.passphrase")]
    assert keys and words
    assert not [place for place, data in path.seen.items() for secret in keys + words if secret in data]
    (state / "log/server.log").write_text("")
    arguments = ["state", "backup", "-o", path.root / f"{state.name}-backup", "--state-dir", state]
    path.run(*arguments, env={"AIRBUNDLE_KEY_PASSPHRASE": PASSPHRASE})
    backup = (path.root / f"{state.name}-backup").read_bytes()
    assert not [secret for secret in keys + words if secret in backup]


def failing_disconnected(path: Journey, bundle: Path) -> None:
    """Meet what a site does to an operator."""
    outside = path.outside
    public = ["--key", path.root / "release.pub"]
    proxies = {"HTTPS_PROXY": f"http://carol:{quote(PROXY, safe='')}@127.0.0.1:1"}
    for name, registry in (("basic", outside.basic), ("tokens", outside.tokens)):
        state = ["--state-dir", path.root / f"failed-{name}"]
        target = ["--registry", registry.url]
        wrong = ["--registries", path.given / "wrong.yaml", "--registry-ca", registry.ca_file]
        path.fail("load", bundle, *target, *wrong, *public, *state, code=6)
        path.fail("load", bundle, *target, *public, *state, code=6)  # a CA that nobody trusts
    far = ["--registry", "https://registry.example.test", *public, "--state-dir", path.root / "failed-far"]
    path.fail("load", bundle, *far, code=6, env=proxies)


def test_no_secret_leaves(path: Journey) -> None:
    bundle = connected(path)
    failing_connected(path)
    written_by_people(path)
    disconnected(path, bundle)
    failing_disconnected(path, bundle)
    told = (path.given / "told").read_text()
    assert "repo" in told and "docker-credential-test" in told  # the programs were watched
    assert path.outside.tokens.tokens is not None and path.outside.tokens.tokens.issued
    leaks = path.leaks()
    assert not leaks, "\n".join(leaks)


def test_the_search_finds_every_form() -> None:
    for secret in SECRETS.values():
        for text in (secret, quote(secret, safe="")):
            assert any(form in text.encode() for form in forms(secret))
        for lead in ("", "u:", "user:", "robot:"):
            encoded = base64.b64encode(f"{lead}{secret} and more".encode())
            assert any(form in encoded for form in forms(secret)), (secret, lead)
