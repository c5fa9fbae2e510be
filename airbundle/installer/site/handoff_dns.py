"""The shell script that puts a site's zones into the cluster's CoreDNS with kubectl alone, and takes them out. Pure.

It writes what `deploy.corefile` writes, so that a later `--phases dns`, by whoever may, finds its own work.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from airbundle.deploy.corefile import server_blocks
from airbundle.deploy.zone import Zone

_END = "AIRBUNDLE-END-OF-FILE"

_SCRIPT = r"""#!/bin/sh
# Written by airbundle. The zones of the site @OWNER@ in the cluster's CoreDNS:
#   sh 20-dns.sh apply   puts them into ConfigMap kube-system/coredns (k3s: coredns-custom); again, it changes nothing
#   sh 20-dns.sh undo    takes them out
#   sh 20-dns.sh show    reads a Corefile, prints what apply would make of it
set -eu
KUBECTL=${KUBECTL:-kubectl}
FORWARD=@FORWARD@
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

k() { $KUBECTL -n kube-system "$@"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

zones() { # $1: the port that CoreDNS serves all other names on
    sed "s/^\([^ ]*\):53 {\$/\1:$1 {/" <<'@END@'
@ZONES@@END@
}

without() { # stdin: a Corefile; without our part, and what we replaced is back
    awk '
        { bare = $0; gsub(/^[ \t]+|[ \t]+$/, "", bare) }
        bare == "# airbundle begin @OWNER@ zones" || bare == "# airbundle begin @OWNER@ forward" ||
        bare == "# airbundle begin @OWNER@ zones, after a line end of ours" { open++; ours = 1; next }
        bare == "# airbundle end @OWNER@ zones" || bare == "# airbundle end @OWNER@ forward" { open--; ours = 0; next }
        ours { place = index($0, "#airbundle was:"); if (place) print substr($0, place + 15); next }
        { print }
        END { if (open) exit 1 }
    ' || fail "the Corefile of CoreDNS: one mark of airbundle is missing; take its part out by hand"
}

root_port() { sed -n 's/^[ \t]*\.\(:[0-9]*\)*[ \t]*{.*/\1/p' "$1" | head -n 1 | tr -d :; }

forwarding() { # stdin: a Corefile; all other names are asked of FORWARD
    [ -n "$FORWARD" ] || { cat; return; }
    awk -v forward="$FORWARD" '
        function ours(was) {
            print "    # airbundle begin @OWNER@ forward"
            print "    forward . " forward
            printf "%s", was
            print "    # airbundle end @OWNER@ forward"
            done++
        }
        { bare = $0; gsub(/^[ \t]+|[ \t]+$/, "", bare) }
        taking { was = was "#airbundle was:" $0 "\n"; if (bare == "}") { ours(was); taking = 0 } next }
        depth == 0 && bare ~ /^\.(:[0-9]+)?[ \t]*\{$/ { root = 1; depth = 1; print; next }
        root && depth == 1 && bare ~ /^forward[ \t]+\.[ \t]/ {
            was = "#airbundle was:" $0 "\n"
            if (bare ~ /\{$/) taking = 1; else ours(was)
            next
        }
        bare ~ /\{$/ && bare !~ /^#/ { depth++ }
        bare == "}" { depth--; if (root && depth == 0) { if (!done) ours(""); root = 0 } }
        { print }
        END { if (done != 1) exit 1 }
    ' || fail "the Corefile of CoreDNS has not one forward for all names: dns.forward of the site file can't be put in"
}

changed() { # stdin: a Corefile; as it is to be
    without >"$work/bare"
    [ -s "$work/zones" ] || zones "$(root_port "$work/bare" | grep . || echo 53)" >"$work/zones"
    for zone in @NAMES@; do
        ! grep -Eq "^[[:space:]]*(dns://)?$zone[.]?(:[0-9]+)?[[:space:]]*[{]" "$work/bare" ||
            fail "the Corefile of CoreDNS has a block for $zone already, which is not airbundle's"
    done
    forwarding <"$work/bare" >"$work/forwarding"
    cat "$work/forwarding"
    [ -s "$work/zones" ] || return 0
    printf '# airbundle begin @OWNER@ zones\n'
    cat "$work/zones"
    printf '# airbundle end @OWNER@ zones\n'
}

field() { k get configmap coredns -o "jsonpath={$1}"; }

put() { # $1: a file with the new Corefile
    cmp -s "$work/live" "$1" && { echo "as it is ConfigMap kube-system/coredns"; return; }
    {
        printf 'metadata: {resourceVersion: "%s"}\ndata:\n  Corefile: |2+\n' "$version"
        sed 's/^/    /' "$1"
    } >"$work/patch"
    k patch configmap coredns --type merge --field-manager airbundle --patch-file "$work/patch"
    # The kubelet of a pod looks at once when its annotations change.
    k annotate pods -l k8s-app=kube-dns --overwrite "airbundle.dev/corefile=$(cksum <"$1" | tr ' ' -)" >/dev/null ||
        echo "CoreDNS reads it within two minutes"
}

custom() { # $1: apply or undo; k3s and others that import what is in coredns-custom
    key='airbundle-@OWNER@.server'
    if [ "$1" = undo ]; then
        [ -z "$(k get configmap coredns-custom --ignore-not-found -o name)" ] ||
            k patch configmap coredns-custom --type merge -p "{\"data\":{\"$key\":null}}"
        return
    fi
    [ -z "$FORWARD" ] || fail "this CoreDNS forwards as its node does, which dns.forward of the site file can't change"
    {
        printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: coredns-custom, namespace: kube-system}\n'
        printf 'data:\n  %s: |\n' "$key"
        zones 53 | sed 's/^/    /'
    } | k apply --server-side --field-manager airbundle --force-conflicts -f -
}

doing=${1:-}
: >"$work/zones"
case $doing in
apply | undo) ;;
show) changed; exit ;;
*) echo "usage: sh $0 apply|undo|show" >&2; exit 2 ;;
esac
version=$(field .metadata.resourceVersion)
field .data.Corefile >"$work/live"
[ -s "$work/live" ] || fail "there is no ConfigMap kube-system/coredns with a Corefile: tell its DNS otherwise"
imports='^[[:space:]]*import[[:space:]]+(/etc/coredns/)?custom/[*][.]server[[:space:]]*$'
if grep -Eq "$imports" "$work/live"; then custom "$doing"; exit; fi
case $doing in
apply) changed <"$work/live" >"$work/new" ;;
undo) without <"$work/live" >"$work/new" ;;
esac
put "$work/new"
"""


def dns_script(owner: str, zones: Sequence[Zone], forward: Sequence[str] = ()) -> str:
    """Return the script.

    Args:
        owner: the site's name, which stands in the marks.
        zones: what the site serves.
        forward: resolvers for all other names; none: as the cluster has it.
    """
    blocks = server_blocks(zones)
    assert _END not in blocks  # noqa: S101 - names and addresses
    words = {
        "@ZONES@": blocks,
        "@NAMES@": " ".join(shlex.quote(zone.name.replace(".", "[.]")) for zone in zones),
        "@FORWARD@": shlex.quote(" ".join(forward)),
        "@OWNER@": owner,
        "@END@": _END,
    }
    text = _SCRIPT
    for word, value in words.items():
        text = text.replace(word, value)
    return text
