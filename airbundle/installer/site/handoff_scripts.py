"""`apply.sh` and `undo.sh` of a handoff: kubectl alone, POSIX sh, to be run again at any time. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_RUNS = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True)
class ReleaseFiles:
    """A handed-over release, as the scripts see it.

    Attributes:
        name: its directory below `releases/`.
        files: those of `ORDER` that it has.
        waits: (kind, namespace, name) of what must be up: workloads and Jobs.
        jobs: file → (namespace, name) of Jobs in it, which must end well.
        timeout: seconds that it may take.
    """

    name: str
    files: tuple[str, ...]
    waits: tuple[tuple[str, str, str], ...] = ()
    jobs: tuple[tuple[str, str, str], ...] = ()
    timeout: int = 300


CRDS, DATA, BEFORE, MANIFESTS, AFTER = "crds.yaml", "data.yaml", "before.yaml", "manifests.yaml", "after.yaml"
ORDER = (CRDS, DATA, BEFORE, MANIFESTS, AFTER)
"""Definitions, what holds data, hooks that run before, all else, hooks that run after."""


@dataclass(frozen=True)
class ClusterFiles:
    """What is applied beside the releases, by its paths; empty where there is none.

    Attributes:
        namespaces: names, all in `10-namespaces.yaml`.
        issuer_after: the release after which the issuer can be made; empty: after all.
    """

    namespaces: tuple[str, ...] = ()
    dns: str = ""
    trust: str = ""
    rights: str = ""
    issuer: str = ""
    issuer_name: str = ""
    issuer_after: str = ""


NAMESPACES = "cluster/10-namespaces.yaml"

_COMMON = r"""set -eu
cd "$(dirname "$0")"
KUBECTL=${KUBECTL:-kubectl}

k() { $KUBECTL "$@"; }
say() { printf '%s\n' "== $*"; }

right_cluster() {
    uid=@UID@
    [ -n "$uid" ] || return 0
    found=$(k get namespace kube-system -o 'jsonpath={.metadata.uid}')
    [ "$found" = "$uid" ] || { echo "another cluster: kube-system has the uid $found, expected $uid" >&2; exit 1; }
}
right_cluster
"""

_APPLY = r"""#!/bin/sh
# Written by airbundle: what an administrator of the cluster does for @TITLE@ at the site @SITE@ (see README.txt).
#   sh apply.sh            all of it; again, it goes on or changes nothing
#   sh apply.sh cluster    only namespaces, DNS, trust and the operator's rights
#   sh apply.sh releases   only the releases that were handed over, and the issuer of certificates
# KUBECTL="k3s kubectl" and KUBECONFIG say how the cluster is reached.
"""

_APPLYING = r"""
apply() { k apply --server-side --field-manager=airbundle -f "$@"; }

again() { # as apply; what a webhook that is just coming up refuses is tried again, for $2 seconds
    end=$(($(date +%s) + $2))
    until apply "$1"; do
        [ "$(date +%s)" -lt "$end" ] || exit 1
        sleep 5
    done
}

namespace() { # one that is there is left as it is
    k get namespace "$1" >/dev/null 2>&1 ||
        apply cluster/10-namespaces.yaml -l "kubernetes.io/metadata.name=$1"
}

definitions() {
    apply "$1"
    k wait --for=condition=Established --timeout=120s -f "$1"
}

hooks() { # Jobs can't be changed: those of an earlier run are made anew
    k delete --ignore-not-found --wait=true -f "$1"
    apply "$1"
}

finished() { # $1: namespace, $2: Job, $3: seconds
    end=$(($(date +%s) + $3))
    while :; do
        state=$(k -n "$1" get job "$2" --ignore-not-found \
            -o 'jsonpath={range .status.conditions[?(@.status=="True")]}{.type}{"\n"}{end}')
        case $state in
        *Complete*) return ;;
        *Failed*) echo "Job $1/$2 failed" >&2; exit 1 ;;
        esac
        [ "$(date +%s)" -lt "$end" ] || { echo "Job $1/$2 has not ended after $3 seconds" >&2; exit 1; }
        sleep 2
    done
}
"""

_UNDO = r"""#!/bin/sh
# Written by airbundle: takes back what apply.sh made for @TITLE@ at the site @SITE@ (see README.txt).
#   sh undo.sh                 volumes, definitions of custom resources and namespaces stay
#   sh undo.sh --delete-data   they go, too, and all data with them
# It goes on past failures, tells them, and ends with 1 when there were any.
"""

_UNDOING = r"""
wrong=0
err=$(mktemp)
trap 'rm -f "$err"' EXIT
data=${1:-}
case $data in '' | --delete-data) ;; *) echo "usage: sh $0 [--delete-data]" >&2; exit 2 ;; esac

gone() { # $1: a file of objects; kinds that are not there any more have none
    k delete --ignore-not-found --wait=true --timeout=180s -f "$1" 2>"$err" || {
        grep -v -e 'no matches for kind' -e 'ensure CRDs are installed first' "$err" >&2 && wrong=1 || :
    }
}

gone_data() { [ -z "$data" ] || gone "$1"; }

namespace_gone() { # only one that apply.sh made
    [ -n "$data" ] || return 0
    k delete namespace --ignore-not-found --wait=true --timeout=300s \
        -l "kubernetes.io/metadata.name=$1,app.kubernetes.io/managed-by=airbundle" || wrong=1
}
"""


def apply_script(title: str, site: str, uid: str, cluster: ClusterFiles, releases: Sequence[ReleaseFiles]) -> str:
    """Return `apply.sh`.

    Args:
        title: name and version of the bundle.
        site: its name.
        uid: of the cluster's kube-system; empty where it isn't known.
        cluster: what is applied beside the releases.
        releases: in the order of needs.
    """
    lines = [_filled(_APPLY + _COMMON, title, site, uid), _APPLYING, "\ncluster() {\n    :\n"]
    lines += [f"    {line}\n" for line in _cluster(cluster)]
    lines += ["}\n\nreleases() {\n    :\n"]
    lines += [f"    {line}\n" for line in _releases(cluster, releases)]
    lines += ["}\n", _CHOICE]
    return "".join(lines)


def undo_script(title: str, site: str, uid: str, cluster: ClusterFiles, releases: Sequence[ReleaseFiles]) -> str:
    """Return `undo.sh`; arguments as of `apply_script`."""
    lines = [_filled(_UNDO + _COMMON, title, site, uid), _UNDOING, "\n"]
    lines += [f"gone {cluster.issuer}\n"] if cluster.issuer else []
    for release in reversed(releases):
        lines.append(f"say {shlex.quote('release ' + release.name)}\n")
        for file in reversed([file for file in ORDER if file in release.files]):
            command = "gone_data" if file in (CRDS, DATA) else "gone"
            lines.append(f"{command} releases/{release.name}/{file}\n")
    lines += [f"gone {path}\n" for path in (cluster.rights, cluster.trust) if path]
    lines += [f"sh {cluster.dns} undo || wrong=1\n"] if cluster.dns else []
    lines += [f"namespace_gone {name}\n" for name in reversed(cluster.namespaces)]
    return "".join([*lines, "exit $wrong\n"])


_CHOICE = """
case ${1:-all} in
all) cluster; releases ;;
cluster) cluster ;;
releases) releases ;;
*) echo "usage: sh $0 [cluster|releases]" >&2; exit 2 ;;
esac
say 'all is applied'
"""


def _cluster(cluster: ClusterFiles) -> Iterator[str]:
    yield from (f"namespace {name}" for name in cluster.namespaces)
    if cluster.dns:
        yield "say DNS"
        yield f"sh {cluster.dns} apply"
    if cluster.trust:
        yield "say trust"
        yield f"apply {cluster.trust}"
    if cluster.rights:
        yield 'say "the operator\'s rights"'
        yield f"apply {cluster.rights}"


def _releases(cluster: ClusterFiles, releases: Sequence[ReleaseFiles]) -> Iterator[str]:
    issued = not cluster.issuer
    for release in releases:
        yield from _release(release)
        if not issued and release.name == cluster.issuer_after:
            yield from _issuer(cluster)
            issued = True
    if not issued:
        yield from _issuer(cluster)


def _release(release: ReleaseFiles) -> Iterator[str]:
    yield f"say {shlex.quote('release ' + release.name)}"
    commands = {CRDS: "definitions", DATA: "apply", BEFORE: "hooks", MANIFESTS: "again", AFTER: "hooks"}
    for file in (file for file in ORDER if file in release.files):
        path = f"releases/{release.name}/{file}"
        yield f"{commands[file]} {path}" + (f" {release.timeout}" if file == MANIFESTS else "")
        for found, namespace, name in release.jobs:
            if found == file:
                yield f"finished {namespace} {shlex.quote(name)} {release.timeout}"
        if file == MANIFESTS:
            yield from _waits(release)


def _waits(release: ReleaseFiles) -> Iterator[str]:
    for kind, namespace, name in release.waits:
        if kind in _RUNS:
            what = shlex.quote(f"{kind.lower()}/{name}")
            yield f"k -n {namespace} rollout status {what} --timeout={release.timeout}s"


def _issuer(cluster: ClusterFiles) -> Iterator[str]:
    yield "say 'the issuer of certificates'"
    yield f"again {cluster.issuer} 300"
    yield f"k wait --for=condition=Ready --timeout=300s clusterissuer/{cluster.issuer_name}"


def _filled(text: str, title: str, site: str, uid: str) -> str:
    return text.replace("@TITLE@", title).replace("@SITE@", site).replace("@UID@", shlex.quote(uid))
