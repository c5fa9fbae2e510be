"""Pages for people: what is served, and how to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from airbundle import __version__
from airbundle.bundle.chart_index import ChartEntry
from airbundle.bundle.serving import CHARTS, CLAMAV, FILES
from airbundle.bundle.sizes import counted
from airbundle.bundle.statement import Statement
from airbundle.server.repositories import Repository
from airbundle.server.shelf import Shelf

_LISTED = 2000
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "code,pre{font:14px/1.5 ui-monospace,monospace;background:#8882;padding:.1em .3em;border-radius:3px}"
    "pre{padding:.6em;overflow:auto}li{margin:.1em 0}:root{color-scheme:light dark}"
)


@dataclass(frozen=True)
class Served:
    """What the server has.

    `repositories` is None when there is no registry here; `shelves` hold something; `trust`: there is a page on the CA.
    """

    bundles: Sequence[Statement]
    repositories: Mapping[str, Repository] | None
    charts: Sequence[ChartEntry]
    shelves: Sequence[str]
    trust: bool = False


def front_page(served: Served, *, host: str, scheme: str) -> bytes:
    """Return the page at `/`; `host` and `scheme` are as the client sees this server."""
    parts = ["<h2>Bundles</h2>", _list(f"{each.name} {each.version}, made {each.created}" for each in served.bundles)]
    if served.repositories is not None:
        parts += _registry_part(served.repositories, host)
    url = f"{scheme}://{host}"
    if CHARTS in served.shelves and served.charts:
        parts += _charts_part(served.charts, url)
    if CLAMAV in served.shelves:
        parts += ["<h2><a href='/clamav/'>ClamAV</a></h2>", _pre(f"PrivateMirror {url}/clamav")]
    if FILES in served.shelves:
        parts += ["<h2><a href='/files/'>Files</a></h2>"]
    if served.trust:
        parts += ["<h2><a href='/trust/'>Trust the CA of this site</a></h2>"]
    return _page("airbundle", parts)


def _registry_part(repositories: Mapping[str, Repository], host: str) -> list[str]:
    images = [f"{name}:{tag}" for name, repository in repositories.items() for tag in sorted(repository.images)]
    example = [_pre(f"docker pull {host}/{images[0]}")] if images else []
    return [f"<h2>Registry: {counted(len(images), 'image')}</h2>", *example, _list(images)]


def _charts_part(charts: Sequence[ChartEntry], url: str) -> list[str]:
    listed = sorted(charts, key=lambda chart: chart.path)
    example = [_pre(f"helm repo add site {url}/charts")]
    for chart in listed[:1]:
        repository = f"{url}/charts/{chart.directory}"
        example += [_pre(f"helm pull {chart.metadata.name} --version {chart.metadata.version} --repo {repository}")]
    return [f"<h2><a href='/charts/'>Charts</a>: {len(charts)}</h2>", *example, _list(chart.path for chart in listed)]


def listing(title: str, shelf: Shelf) -> bytes:
    """Return the page that lists a shelf."""
    rows = (
        f"<li><a href='{escape(quote(path), quote=True)}'>{escape(path)}</a> {item.size:,} bytes, "
        f"<code>{escape(item.digest)}</code></li>"
        for path, item in sorted(shelf.items())
    )
    return _page(title, ["<ul>", *rows, "</ul>"])


def shelf_json(shelf: Shelf) -> list[dict[str, object]]:
    """Return the same for programs."""
    return [{"name": path, "size": item.size, "digest": item.digest} for path, item in sorted(shelf.items())]


def _page(title: str, parts: Iterable[str]) -> bytes:
    head = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    foot = f"<p><small>airbundle {escape(__version__)}</small></p></html>"
    return "\n".join([head, f"<h1>{escape(title)}</h1>", *parts, foot]).encode()


def _pre(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _list(texts: Iterable[str]) -> str:
    rows = [f"<li><code>{escape(text)}</code></li>" for text in texts]
    more = [f"<li>and {len(rows) - _LISTED} more</li>"] if len(rows) > _LISTED else []
    return "<ul>" + "".join(rows[:_LISTED] + more) + "</ul>"
