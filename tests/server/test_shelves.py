"""Charts, files and databases: what lies at which path, and what each says of itself."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from airbundle.bundle.digest import sha256
from airbundle.server.app import App
from airbundle.server.ranges import http_date
from tests.server.site import (
    APP,
    BIG,
    BUILT,
    FILE,
    REDIS,
    SPARSE,
    Site,
    app_of,
    ask,
    clamav_roots,
    file_artifact,
    newer,
)
from tests.support.bundles import SERIAL, Made, locked, make, write_bundle
from tests.support.clamav import make_cvd


def test_each_upstream_has_an_index_and_all_have_one(app: App, site: Site) -> None:
    everything = json.loads(ask(app, "/charts/index.yaml").body)
    assert sorted(everything["entries"]) == ["db", "mine", "web"]
    own = {
        "charts.example.com/stable": "web-1.2.3.tgz",
        "ghcr.io/team/charts": "db-2.0.0+build.5.tgz",
        "local": "mine-0.1.0.tgz",
    }
    for directory, name in own.items():
        answer = ask(app, f"/charts/{directory}/index.yaml")
        assert answer.headers["Content-Type"].startswith("text/yaml")
        (entries,) = json.loads(answer.body)["entries"].values()
        assert entries[0]["urls"] == [name]
        archive = ask(app, f"/charts/{directory}/{name}")
        assert archive.body == site.charts[name]
        assert sha256(archive.body) == f"sha256:{entries[0]['digest']}"
        assert ask(app, f"/charts/{directory}/{name}.prov").body == b"a provenance"
        assert everything["entries"][entries[0]["name"]][0]["urls"] == [f"{directory}/{name}"]


@pytest.mark.parametrize("path", ["/charts/nobody/index.yaml", "/charts/../files/tool", "/charts//index.yaml"])
def test_charts_that_are_not_there(app: App, path: str) -> None:
    assert ask(app, path).status == 404


def test_files(app: App) -> None:
    answer = ask(app, "/files/tool")
    assert answer.body == FILE
    assert answer.headers["Last-Modified"] == http_date(SERIAL)
    assert ask(app, "/files/tool", range="bytes=2-5").body == FILE[2:6]
    assert ask(app, "/files/tool", if_modified_since=http_date(SERIAL)).status == 304
    assert ask(app, "/files/nothing").status == 404
    listed = json.loads(ask(app, "/files/", accept="application/json").body)
    assert listed == [{"name": "tool", "size": len(FILE), "digest": sha256(FILE)}]
    assert b"href='tool'" in ask(app, "/files/").body
    assert ask(app, "/files").headers["Location"] == "/files/"


def test_databases_are_as_old_as_their_headers_say(app: App, site: Site) -> None:
    for name, data in site.databases.items():
        answer = ask(app, f"/clamav/{name}")
        assert answer.body == data
        built = int(BUILT.timestamp()) if name.startswith("daily") else SERIAL
        assert answer.headers["Last-Modified"] == http_date(built)
    path = "/clamav/daily.cvd"
    header = {"range": "bytes=0-511"}
    newer_client = http_date(int(BUILT.timestamp()))
    older_client = http_date(int(BUILT.timestamp()) - 1)
    assert ask(app, path, if_modified_since=newer_client, **header).status == 304
    part = ask(app, path, if_modified_since=older_client, **header)
    assert (part.status, part.body) == (206, site.databases["daily.cvd"][:512])


def test_a_database_that_is_not_there_is_not_forbidden(app: App) -> None:
    for name in ("daily.cld", "main.cvd", "daily-27002.cdiff", "../files/tool"):
        assert ask(app, f"/clamav/{name}", range="bytes=0-511").status == 404


def test_the_dns_record(app: App) -> None:
    fields = ask(app, "/clamav/dns.txt").body.decode().strip().split(":")
    assert (fields[1], fields[2], fields[7]) == ("0", "27001", "0")
    assert int(fields[3]) == int(BUILT.timestamp())


def _with_daily(directory: Path, version: int, built: datetime, made: Made, *, seconds: int) -> Path:
    roots = clamav_roots(directory / "in", {"daily.cvd": make_cvd("daily", version, built)})
    locks = [locked(ref, each, kind="clamav") for ref, each in roots.items()]
    again = make(list(roots.values()), locks)
    path = directory / "x.airbundle"
    write_bundle(path, make(list(roots.values()), locks, lock=newer(again, seconds=seconds)))
    return path


def test_the_higher_version_of_a_database_wins_whatever_bundle_it_is_in(tmp_path: Path, site: Site) -> None:
    paths = []
    for number, version in enumerate((27010, 27009)):
        directory = tmp_path / str(number)
        directory.mkdir()
        built = BUILT + timedelta(days=version - 27001)
        paths.append(_with_daily(directory, version, built, site.made, seconds=60 + number))
    app = app_of(site.path, *paths)
    assert b":27010:" in ask(app, "/clamav/daily.cvd", range="bytes=0-511").body
    assert ask(app, "/clamav/dns.txt").body.split(b":")[2] == b"27010"
    # Patches and custom signatures of the others stay.
    assert ask(app, "/clamav/daily-27001.cdiff").status == 200
    assert ask(app, "/clamav/local.ndb").status == 200
    app.close()


def test_the_file_of_the_bundle_that_is_named_first_wins(tmp_path: Path, site: Site) -> None:
    other = file_artifact({"tool": b"newer", "<b>&'": b"odd name", "/abs": b"never", "..": b"never"})
    lock = newer(make([other], [locked("file/tool:2", other, kind="file")]))
    write_bundle(tmp_path / "x.airbundle", make([other], [locked("file/tool:2", other, kind="file")], lock=lock))
    app = app_of(tmp_path / "x.airbundle", site.path)
    assert ask(app, "/files/tool").body == b"newer"
    assert ask(app, "/files/<b>&'").body == b"odd name"
    page = ask(app, "/files/").body
    assert b"<b>&'" not in page
    assert b"&lt;b&gt;&amp;&#x27;" in page
    assert ask(app, "/files//abs").status == 404
    assert ask(app, "/files/..").status == 404
    app.close()


def test_the_front_page_tells_how_to_use_it(app: App) -> None:
    page = ask(app, "/", host="registry.site:5443").body.decode()
    assert "docker pull registry.site:5443/" in page
    assert "helm repo add site http://registry.site:5443/charts" in page
    assert "PrivateMirror http://registry.site:5443/clamav" in page
    assert re.search(r"test 1\.0\.0", page)
    assert "evil" not in ask(app, "/", host="<evil>").body.decode()


def test_the_front_page_shows_docker_an_image_and_no_chart(site: Site) -> None:
    app = app_of(site.path, prefix="mirror")
    example = re.search(r"docker pull [^/]*/mirror/(\S+?)<", ask(app, "/").body.decode())
    app.close()
    assert example is not None
    assert example.group(1) in (REDIS, APP, SPARSE, BIG.replace(":5000", "_5000"))


def test_the_front_page_shows_nothing_that_no_bundle_has(tmp_path: Path) -> None:
    tool = file_artifact({"tool": b"it"})
    write_bundle(tmp_path / "x.airbundle", make([tool], [locked("file/tool:1", tool, kind="file")]))
    app = app_of(tmp_path / "x.airbundle")
    page = ask(app, "/").body.decode()
    app.close()
    assert "/files/" in page
    assert "ClamAV" not in page and "PrivateMirror" not in page
    assert "helm repo add" not in page


def test_parts_can_be_left_out(site: Site) -> None:
    app = app_of(site.path, serves=("charts",), url="https://registry.site:5443")
    assert ask(app, "/v2/").status == 404
    assert ask(app, "/clamav/daily.cvd").status == 404
    assert ask(app, "/charts/index.yaml").status == 200
    assert "https://registry.site:5443/charts" in ask(app, "/").body.decode()
    assert ask(app, "/v2/", "POST").status == 405
    app.close()


def test_health_tells_what_runs_and_whether_it_is_whole(tmp_path: Path, site: Site) -> None:
    app = app_of(site.path)
    body = json.loads(ask(app, "/healthz").body)
    assert (body["status"], body["instance"]) == ("ok", app.instance)
    assert body["bundles"][0]["name"] == "test"
    app.close()
    damaged = bytearray(site.path.read_bytes())
    damaged[damaged.index(FILE)] ^= 1
    (tmp_path / "x.airbundle").write_bytes(damaged)
    app = app_of(tmp_path / "x.airbundle")
    answer = ask(app, "/files/tool")
    assert (answer.status, answer.code) == (500, "UNKNOWN")
    health = ask(app, "/healthz")
    assert health.status == 503
    assert json.loads(health.body)["bundles"][0]["damaged"] == [sha256(FILE)]
    app.close()
    # A second bundle that has it whole is taken instead.
    app = app_of(tmp_path / "x.airbundle", site.path)
    assert ask(app, "/files/tool").body == FILE
    app.close()


def test_odd_requests_are_refused(app: App) -> None:
    assert ask(app, "/files/\x00").status == 400
    assert ask(app, "/files/a\nb").status == 400
    assert ask(app, "/v2/_catalog", query="&".join(f"a{i}=1" for i in range(30))).status == 400
    assert ask(app, "/v2/_catalog", query="n=%ff").status == 400
    assert ask(app, "/v2/_catalog", query="x" * 5000).status == 400


def test_what_a_bundle_holds_runs_no_scripts(app: App) -> None:
    for path in ("/", "/files/tool", "/v2/"):
        headers = ask(app, path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
