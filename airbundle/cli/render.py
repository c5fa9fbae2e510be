"""`airbundle render`: a bundle's releases as manifests for one site, every image pinned."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airbundle.cli.arguments import add_base, add_bundle, base_paths, bundle_paths
from airbundle.cli.console import Console
from airbundle.cli.site import add_state, add_trust, gate_of, state_of

if TYPE_CHECKING:
    from airbundle.installer.owned_directory import Written
    from airbundle.installer.render import Rendered

HELP = (
    "Render what a bundle deploys at a site into a directory: charts with the bundle's values and the site's, images "
    "pinned to the private registry and their signed digests. For Flux, Argo CD, kubectl or a change board; asks no "
    "cluster. A second render changes only what differs."
)
EXAMPLE = "  airbundle render messenger-1.4.0.airbundle --key release.pub --site site.yaml -o rendered/"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_bundle(parser)
    add_base(parser)
    parser.add_argument(
        "--site", required=True, metavar="FILE", help="the path of the site file; its values lie beside it"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="where to write: a new directory, or an earlier render's"
    )
    parser.add_argument(
        "--kube-version", default="", metavar="V", help="render for this Kubernetes; by default the inventory's"
    )
    parser.add_argument(
        "--api-versions",
        action="append",
        default=[],
        metavar="GROUP/V",
        help="an API version that the cluster has beside its own; may be repeated; by default the inventory's",
    )
    add_trust(parser)
    add_state(parser)


def run(args: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Render."""
    from airbundle.bundle.inventory import KubernetesTarget
    from airbundle.bundle.template import site_names
    from airbundle.installer.render import render_releases
    from airbundle.installer.render_directory import check_directory, release_body, write_render
    from airbundle.installer.verify import open_trusted
    from airbundle.store.site_dir import open_site

    output = Path(args.output)
    check_directory(output)
    site = open_site(Path(args.site))
    own = args.kube_version or args.api_versions
    target = KubernetesTarget(args.kube_version, tuple(args.api_versions)) if own else None
    with open_trusted(bundle_paths(args), state_of(args), gate_of(args), base_paths(args)) as trusted:
        rendered = render_releases(trusted, site, kubernetes=target, reporter=console.reporter)
        written = write_render(output, rendered, trusted, site, site_names(site.site)["registry"])
        title = trusted.title
    for finding in rendered.warnings:
        console.note(f"warning: {finding}")
    _tell(title, output, rendered, written, console)
    return {
        "title": title,
        "site": site.site.name,
        "output": str(output),
        "changed": bool(written.written or written.removed),
        "written": list(written.written),
        "removed": list(written.removed),
        "releases": [release_body(each) for each in rendered.releases],
        "off": list(rendered.off),
        "findings": [finding.to_json() for finding in rendered.warnings],
    }


def _tell(title: str, output: Path, rendered: Rendered, written: Written, console: Console) -> None:
    from airbundle.bundle.sizes import counted

    for each in rendered.releases:
        namespace = f" → {each.release.namespace}" if each.release.namespace else ""
        images = counted(len(set(each.images.values())), "image")
        console.say(f"  {each.release.name}{namespace}: {', '.join(each.files) or 'nothing'}; {images} pinned")
    for name in rendered.off:
        console.say(f"  {name}: switched off at this site")
    if not written.written and not written.removed:
        console.say(f"{title} in {output}: nothing changed")
        return
    console.say(
        f"{title} in {output}: {counted(len(written.written), 'file')} written, {len(written.removed)} taken away"
    )
