"""Helm charts: reading a chart archive without trusting it, and Helm's own OCI artifact for it.

Archives are read as a stream, in memory, with bounds; nothing is extracted (CVE-2025-32386, -32387, -53547, -55199).
Artifact: helm.sh "Helm OCI MIME types", helm `pkg/registry`; ours is what `helm push` makes, without `created`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from airbundle.bundle.chart_metadata import ChartMetadata, metadata_of
from airbundle.bundle.chart_yaml import go_json
from airbundle.bundle.content import BlobSink, Materialised
from airbundle.bundle.gzipstream import GZIP_MAGIC, BytesStream, GunzipStream
from airbundle.bundle.oci import HELM_CHART, HELM_CONFIG, HELM_PROVENANCE, OCI_MANIFEST, artifact_manifest
from airbundle.bundle.tarstream import TarStream, safe_name
from airbundle.errors import VerificationError

ARCHIVE_LIMIT = 64 * 1024 * 1024
"""Largest chart archive in bytes, as it lies on the wire."""
UNPACKED_LIMIT = 100 * 1024 * 1024
"""Largest chart in bytes when unpacked; helm's own bound."""
FILE_LIMIT = 5 * 1024 * 1024
"""Largest single file of a chart in bytes; helm's own bound."""
PROVENANCE_LIMIT = 1024 * 1024

_OCI = "org.opencontainers.image."


def chart_files(archive: bytes, *, what: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a chart archive: path below the chart's own directory, and content.

    Args:
        archive: the `.tgz`.
        what: the chart, for errors.

    Raises:
        VerificationError: not a chart archive; a link, a device, a path that leads outside, a file that stands twice,
            more than the bounds allow.
    """
    if len(archive) > ARCHIVE_LIMIT:
        raise VerificationError(f"{what}: {len(archive)} bytes are more than the {ARCHIVE_LIMIT} a chart may have")
    if not archive.startswith(GZIP_MAGIC):
        raise VerificationError(f"{what}: not gzip data, found {archive[:16]!r}; expected a chart archive (.tgz)")
    seen: set[str] = set()
    stream = TarStream(GunzipStream(BytesStream(archive), limit=UNPACKED_LIMIT, what=what), what=what)
    for entry in stream:
        name = safe_name(entry.name, what=what)
        if entry.kind == "directory":
            continue
        if entry.kind != "file":
            raise VerificationError(f"{what}: {name!r} is a {entry.kind}; expected only files and directories")
        top, slash, path = name.partition("/")
        if not slash or re.fullmatch(r"[A-Za-z]:.*", path):
            raise VerificationError(f"{what}: {top!r} does not lie in the chart's directory")
        if path in seen:
            raise VerificationError(f"{what}: {path!r} stands twice in the archive")
        seen.add(path)
        yield path, stream.read(FILE_LIMIT)


def read_metadata(archive: bytes, *, what: str) -> ChartMetadata:
    """Read a whole chart archive and return its metadata.

    Raises:
        VerificationError: as `chart_files`; or Chart.yaml is missing or not as helm wants it.
    """
    documents = {
        name: data for name, data in chart_files(archive, what=what) if name in ("Chart.yaml", "requirements.yaml")
    }
    return metadata_of(documents, what=what)


def chart_annotations(metadata: ChartMetadata) -> dict[str, str]:
    """Return the annotations that `helm push` gives a chart's manifest, without the time of the push."""
    fields = metadata.fields
    authors = [
        f"{item.get('name', '')}" + (f" ({item['email']})" if item.get("email") else "")
        for item in fields.get("maintainers", ())
    ]
    own = {
        f"{_OCI}description": metadata.description,
        f"{_OCI}title": metadata.name,
        f"{_OCI}version": metadata.version,
        f"{_OCI}url": fields.get("home", ""),
        f"{_OCI}source": next(iter(fields.get("sources", ())), ""),
        f"{_OCI}authors": ", ".join(authors),
    }
    carried = {
        key: value
        for key, value in fields.get("annotations", {}).items()
        if key not in (f"{_OCI}title", f"{_OCI}version")
    }
    return {key: value for key, value in {**own, **carried}.items() if value}


def materialise_chart(
    archive: bytes, sink: BlobSink, *, what: str, provenance: bytes | None = None, info: Mapping[str, str] | None = None
) -> Materialised:
    """Put a chart into `sink` as Helm's own OCI artifact, the archive byte for byte.

    Args:
        archive: the `.tgz`, as upstream served it.
        sink: takes config, layers and manifest.
        what: the chart, for errors.
        provenance: the `.prov` file that belongs to it.
        info: more facts for the lock, such as the repository's URL.

    Raises:
        VerificationError: the archive is no chart, or hostile.
        HostError: the sink can't take it.
    """
    metadata = read_metadata(archive, what=what)
    config = sink.add(go_json(metadata.fields, what=what), HELM_CONFIG)
    layers = [sink.add(archive, HELM_CHART)]
    if provenance is not None:
        if len(provenance) > PROVENANCE_LIMIT:
            raise VerificationError(f"{what}: a provenance file of {len(provenance)} bytes")
        layers.append(sink.add(provenance, HELM_PROVENANCE))
    raw = artifact_manifest("", tuple(layers), config=config, annotations=chart_annotations(metadata))
    facts = {"name": metadata.name, "version": metadata.version, "appVersion": metadata.app_version, **(info or {})}
    return Materialised(
        sink.add(raw, OCI_MANIFEST),
        blobs=(config, *layers),
        info={key: value for key, value in facts.items() if value},
    )
