"""A shell script that makes a node what `installer.mirrors` says, checks it, and takes it back. Pure.

It runs on whatever shell a node has (POSIX, also busybox's), without Python and without a network. What it makes it
first notes in `/etc/airbundle/node`, so that `undo` takes away just that, also after a newer script. `plan` and `reach`
change nothing and speak to `deploy.node_answers`, in lines that begin with their own name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from airbundle.installer.mirrors import CONTAINERD, NodeSetup

_END = "AIRBUNDLE-END-OF-FILE"

_HEAD = """\
#!/bin/sh
# Written by airbundle. Lets this node pull from the site's private registry; run it as root on each node:
#   sh THIS apply    writes the files below; again, it changes nothing
#   sh THIS check    says whether all is so, and whether the registry answers; exit 1 when not
#   sh THIS undo     takes away what apply made, and puts back what was there
#   sh THIS restart  restarts the container runtime where that is still to be done
#   sh THIS plan     says what apply would do; sh THIS reach: whether the registry can be reached
set -eu
umask 022
ROOT=${ROOT:-}
NOTES=$ROOT/etc/airbundle/node
units='@UNITS@' # the runtime's services, of which one runs here
at_start=@AT_START@ # whether they read the files below only when they start
will=
restarting=@RESTART@
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '%s\\n' "$*"; }
noted() { [ -f "$NOTES" ] && grep -qxF "$1" "$NOTES"; }
note() { noted "$1" || { printf '%s\\n' "$1" >>"$NOTES"; sync; }; }

directory() { # make a directory of the node, noting each one that was not there
    [ -d "$ROOT$1" ] && return
    directory "$(dirname "$1")"
    note "directory $1"
    mkdir "$ROOT$1"
}

wanted() { grep -qxF "$1" "$work/wanted"; }

put() { # $1: path; what it is to hold comes by stdin
    printf '%s\\n' "$1" >>"$work/wanted"
    cat >"$work/new"
    case $doing in
    plan) plan_put "$1"; return ;;
    reach) case $1 in *ca.crt) cp "$work/new" "$work/ca.crt" ;; esac; return ;;
    esac
    if [ "$doing" = check ]; then
        if cmp -s "$work/new" "$ROOT$1"; then say "ok       $1"; else say "WRONG    $1"; wrong=1; fi
        return
    fi
    if cmp -s "$work/new" "$ROOT$1" 2>/dev/null; then say "as it is $1"; return; fi
    directory "$(dirname "$1")"
    if [ -e "$ROOT$1" ] && ! noted "file $1"; then
        note "before $1"
        cp -p "$ROOT$1" "$ROOT$1.before-airbundle.part"
        mv -f "$ROOT$1.before-airbundle.part" "$ROOT$1.before-airbundle"
        say "kept     $1.before-airbundle"
    fi
    note "file $1"
    [ "$at_start" = no ] || owe_restart
    cat "$work/new" >"$ROOT$1.airbundle-part"
    mv -f "$ROOT$1.airbundle-part" "$ROOT$1"
    say "written  $1"
}

plan_put() {
    if cmp -s "$work/new" "$ROOT$1" 2>/dev/null; then say "plan keep $1"; return; fi
    will=$at_start
    if [ ! -e "$ROOT$1" ]; then say "plan create $1"
    elif noted "file $1"; then say "plan change $1"
    else say "plan replace $1"; fi
}

started() { # which start of the runtime's service is the one that runs; nothing where it does not run
    command -v systemctl >/dev/null 2>&1 || { say unknown; return; }
    for unit in $units; do
        ! systemctl is-active -q "$unit" 2>/dev/null || systemctl show -p InvocationID --value "$unit"
    done
}

owe_restart() { # before a file is changed that the runtime reads when it starts
    [ -n "$units" ] || return 0
    forget_restart
    id=$(started)
    [ -z "$id" ] || note "restart $id"
}

owed() { # whether the runtime was not started again since
    [ -f "$NOTES" ] || return 1
    id=$(sed -n 's/^restart //p' "$NOTES")
    [ -n "$id" ] && [ "$id" = "$(started)" ]
}

forget_restart() {
    id=$(sed -n 's/^restart //p' "$NOTES")
    [ -z "$id" ] || forget "restart $id"
}

restart() {
    owed || { say "no restart is to be done"; return; }
    command -v systemctl >/dev/null 2>&1 || { say "WRONG    no systemctl here: restart the runtime by hand"; exit 1; }
    for unit in $units; do
        systemctl is-active -q "$unit" || continue
        systemctl "$restarting" "$unit"
        say "$restarting  $unit"
    done
    forget_restart
}

put_alone() { # as put, for a file that others may have settings in: those are never replaced
    if [ "$doing" = plan ] && [ -e "$ROOT$1" ] && ! noted "file $1"; then
        cat >"$work/new"
        cmp -s "$work/new" "$ROOT$1" && { say "plan keep $1"; return; }
        say "plan refuse $1"
        return
    fi
    if [ "$doing" = apply ] && [ -e "$ROOT$1" ] && ! noted "file $1"; then
        cat >"$work/new"
        cmp -s "$work/new" "$ROOT$1" && return
        say "REFUSED  $1 has settings of others; add these to it by hand:"
        cat "$work/new"
        wrong=1
        return
    fi
    put "$1"
}

take_back() { # $1: path of a file that we wrote; cut off anywhere, it can be done again
    if [ -e "$ROOT$1.before-airbundle" ]; then
        cp -p "$ROOT$1.before-airbundle" "$ROOT$1.airbundle-part"
        mv -f "$ROOT$1.airbundle-part" "$ROOT$1"
        say "put back $1"
    else
        rm -f "$ROOT$1"
        say "removed  $1"
    fi
    rm -f "$ROOT$1.airbundle-part"
    forget "file $1"
    rm -f "$ROOT$1.before-airbundle"
}

forget() { # $1: a line of the notes
    grep -vxF "$1" "$NOTES" >"$NOTES.part" || true
    mv -f "$NOTES.part" "$NOTES"
}

hosts_without() { grep -v '# airbundle$' "$ROOT/etc/hosts" 2>/dev/null || true; }

replace_hosts() {
    part=$ROOT/etc/hosts.airbundle-part
    cp -p "$ROOT/etc/hosts" "$part" 2>/dev/null || true # for its mode
    cat "$work/hosts" >"$part"
    # Where it is mounted from elsewhere, as in a container, it can only be written in place.
    mv -f "$part" "$ROOT/etc/hosts" 2>/dev/null || { cat "$work/hosts" >"$ROOT/etc/hosts"; rm -f "$part"; }
}

put_hosts() { # $1: the line for /etc/hosts; empty for none
    [ "$doing" != reach ] || return 0
    { hosts_without; [ -z "$1" ] || printf '%s # airbundle\\n' "$1"; } >"$work/hosts"
    if [ "$doing" = check ]; then
        [ -z "$1" ] && return
        if grep -qxF "$1 # airbundle" "$ROOT/etc/hosts"; then say "ok       /etc/hosts"; else
            say "WRONG    /etc/hosts lacks: $1"
            wrong=1
        fi
        return
    fi
    if [ "$doing" = plan ]; then
        [ -n "$1" ] || noted hosts || return 0
        if cmp -s "$work/hosts" "$ROOT/etc/hosts"; then say "plan keep /etc/hosts"; else say "plan hosts /etc/hosts"; fi
        return
    fi
    if cmp -s "$work/hosts" "$ROOT/etc/hosts" 2>/dev/null; then [ -z "$1" ] || say "as it is /etc/hosts"; return; fi
    [ -n "$1" ] || noted hosts || return 0
    note hosts
    replace_hosts
    say "written  /etc/hosts: ${1:-our line is out}"
}

config=/etc/containerd/config.toml
reads_mirrors() { # whether containerd's configuration has it read what lies in certs.d
    { [ -z "$ROOT" ] && containerd config dump 2>/dev/null || cat "$ROOT$config" 2>/dev/null; } |
        grep -Eq '^ *config_path *= *["'"'"'][^"'"'"']*/etc/containerd/certs.d'
}

# The line that is empty by default, in the section of the registry of any version; what it was is kept in a comment.
with_config_path() {
    awk '/^[ \\t]*\\[/ { section = $0 }
        section ~ /cri.*registry\\]/ && /^[ \\t]*config_path[ \\t]*=[ \\t]*(""|\\047\\047)[ \\t]*$/ && !done {
            print "config_path = \\"/etc/containerd/certs.d\\" # airbundle, was:" $0; done = 1; next }
        { print }
        END { exit !done }' "$ROOT$config" 2>/dev/null
}

replace_config() { # by $work/config
    cp -p "$ROOT$config" "$ROOT$config.airbundle-part" # for its mode
    cat "$work/config" >"$ROOT$config.airbundle-part"
    mv -f "$ROOT$config.airbundle-part" "$ROOT$config"
}

set_config_path() {
    ! reads_mirrors || return 0
    with_config_path >"$work/config" || return 0
    case $doing in
    plan) will=yes; say "plan change $config" ;;
    apply)
        note config_path
        owe_restart
        replace_config
        say "written  $config: config_path"
        ;;
    esac
}

unset_config_path() {
    [ -f "$ROOT$config" ] || return 0
    sed 's/^.*# airbundle, was://' "$ROOT$config" >"$work/config"
    replace_config
}

undo() {
    # An apply that was cut off at once may have left the directory for the notes alone.
    [ -f "$NOTES" ] || { rmdir "$(dirname "$NOTES")" 2>/dev/null || true; say "nothing to undo"; return; }
    sed '1!G;h;$!d' "$NOTES" >"$work/back"
    while read -r kind path; do
        case $kind in
        file) take_back "$path" ;;
        before) rm -f "$ROOT$path.before-airbundle.part" "$ROOT$path.before-airbundle" ;;
        config_path)
            unset_config_path
            say "removed  config_path in $config"
            at_start=yes
            ;;
        hosts)
            hosts_without >"$work/hosts"
            replace_hosts
            say "removed  our line in /etc/hosts"
            ;;
        directory) rmdir "$ROOT$path" 2>/dev/null || true ;;
        esac
    done <"$work/back"
    [ "$at_start" = no ] || say "then:    $restarting what runs here of: $units"
    rm -f "$NOTES" "$NOTES.part"
    rmdir "$(dirname "$NOTES")" 2>/dev/null || true
}

doing=${1:-}
wrong=0
: >"$work/wanted"
case $doing in
undo) undo; exit 0 ;;
restart) restart; exit 0 ;;
apply)
    mkdir -p "$ROOT/etc/airbundle"
    [ -f "$NOTES" ] || : >"$NOTES"
    ;;
check | plan | reach) ;;
*) say "usage: sh $0 apply|check|undo|restart|plan|reach" >&2; exit 2 ;;
esac
"""

_LEFT = """\
if [ "$doing" = apply ] || [ "$doing" = plan ]; then # what an earlier script wrote and this one does not
    sed -n 's/^file //p' "$NOTES" >"$work/before" 2>/dev/null || true
    while read -r path; do
        wanted "$path" && continue
        if [ "$doing" = plan ]; then will=$at_start; say "plan remove $path"; continue; fi
        [ "$at_start" = no ] || owe_restart
        take_back "$path"
    done <"$work/before"
fi
"""

_TAIL = """\
[ "$wrong" = 0 ] || exit 1
"""


def node_script(setup: NodeSetup, *, url: str, name: str, address: str = "") -> str:
    """Return the script.

    Args:
        setup: files and needs of the node's runtime.
        url: the registry's, which `check` asks.
        name: host of the registry, which must resolve on the node.
        address: of the registry, for `/etc/hosts`; empty where the node's DNS knows the name.
    """
    head = _HEAD.replace("@UNITS@", " ".join(setup.units)).replace("@RESTART@", setup.restarting)
    head = head.replace("@AT_START@", "yes" if setup.at_start else "no")
    config = "set_config_path\n" if setup.runtime == CONTAINERD else ""
    return "".join(
        [head, *_files(setup), _LEFT, config, _hosts(name, address), *_checks(setup, url, name, address), _TAIL]
    )


def _files(setup: NodeSetup) -> Iterator[str]:
    for path, text in setup.files.items():
        assert _END not in text  # noqa: S101 - what we write ourselves
        command = "put_alone" if path in setup.shared else "put"
        yield f"\n{command} {shlex.quote(path)} <<'{_END}'\n{text.rstrip(chr(10))}\n{_END}\n"


def hosts_line(name: str, address: str) -> str:
    """Return our line of `/etc/hosts` as it stands there; empty without an address."""
    return f"{_hosts_entry(name, address)} # airbundle" if address else ""


def _hosts_entry(name: str, address: str) -> str:
    return f"{address} {name}" if address else ""


def _hosts(name: str, address: str) -> str:
    return f"put_hosts {shlex.quote(_hosts_entry(name, address))}\n"


def _checks(setup: NodeSetup, url: str, name: str, address: str) -> Iterator[str]:
    ca = next((path for path, _ in setup.files.items() if path.endswith("ca.crt")), "")
    yield '\nif [ "$doing" = check ] || [ "$doing" = reach ]; then\n'
    yield _CONFIG_PATH if setup.runtime == CONTAINERD else "    :\n"
    yield "fi\n"
    yield 'if [ "$doing" = check ]; then\n'
    yield _ANSWERS.format(url=shlex.quote(url), name=shlex.quote(name), ca=shlex.quote(ca))
    yield "fi\n"
    yield _REACHES.format(url=shlex.quote(url), resolve=shlex.quote(_resolve(url, address)))
    yield 'if [ "$doing" = apply ]; then\n    :\n'
    for need in setup.needs:
        yield f"    say {shlex.quote('then:    ' + need)}\n"
    yield "fi\n"
    yield _PLANNED


def _resolve(url: str, address: str) -> str:
    """Return what tells curl the registry's address before the node knows its name; empty where it is not given."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    return f"{parts.hostname}:{port}:{f'[{address}]' if ':' in address else address}" if address else ""


_CONFIG_PATH = """\
    if reads_mirrors; then
        [ "$doing" = reach ] || say "ok       config_path of containerd"
    elif [ "$doing" = reach ]; then
        with_config_path >/dev/null || say "reach config $config"
    else
        say "WRONG    containerd reads no hosts.toml; in $config set this, and restart it:"
        say "             config_path = \\"/etc/containerd/certs.d\\""
        wrong=1
    fi
"""

_ANSWERS = """\
    url={url} name={name} ca={ca}
    if command -v getent >/dev/null && ! getent hosts "$name" >/dev/null; then
        say "WRONG    the name $name is not known on this node"
        wrong=1
    fi
    if command -v curl >/dev/null; then
        code=$(curl -sS -o /dev/null -w '%{{http_code}}' --noproxy '*' --max-time 20 \\
            ${{ca:+--cacert "$ROOT$ca"}} "$url/v2/" 2>"$work/why") || true
        case $code in
        200 | 401) say "ok       $url answers" ;;
        *)
            say "WRONG    $url does not answer as a registry (HTTP $code) $(cat "$work/why")"
            wrong=1
            ;;
        esac
    else
        say "not seen whether $url answers: this node has no curl"
    fi
"""

_PLANNED = """\
if [ "$doing" = plan ]; then
    if owed || { [ "$will" = yes ] && [ -n "$(started)" ]; }; then say "plan restart $units"; fi
    say "plan end"
fi
"""

_REACHES = """\
if [ "$doing" = reach ]; then
    url={url} resolve={resolve}
    if command -v curl >/dev/null; then
        set -- --noproxy '*' --connect-timeout 10 --max-time 20 ${{resolve:+--resolve "$resolve"}}
        [ ! -f "$work/ca.crt" ] || set -- "$@" --cacert "$work/ca.crt"
        # Only when it is verbose does curl tell a refused connection from one that had no way.
        code=$(curl -sSv -o /dev/null -w '%{{http_code}}' "$@" "$url/v2/" 2>"$work/why") && status=0 || status=$?
        why=$(grep '^curl: ' "$work/why" | head -n 1)
        ! grep -q 'onnection refused' "$work/why" || why="connection refused; $why"
        say "reach curl $status $code $why"
    else
        say "reach unseen"
    fi
    say "reach end"
fi
"""
