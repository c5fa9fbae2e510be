"""The page that tells people how to trust the site's CA: in browsers, operating systems and programs. Plain HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

PAGE_NAME = "index.html"
CA_FILE = "ca.crt"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:48rem;padding:0 1rem}"
    "code,pre{font:14px/1.5 ui-monospace,monospace;background:#8882;padding:.1em .3em;border-radius:3px}"
    "pre{padding:.6em;overflow:auto}dt{font-weight:600}:root{color-scheme:light dark}"
)


@dataclass(frozen=True)
class Root:
    """A certificate that people are to trust; `fingerprint` is SHA-256 in hex, `permitted` what it may vouch for."""

    subject: str
    fingerprint: str
    not_after: datetime
    permitted: str


_STEPS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "Windows",
        (
            "Double-click <code>ca.crt</code>, <i>Install certificate</i>, <i>Local machine</i>, and choose the store "
            "<i>Trusted Root Certification Authorities</i>. Edge and Chrome use it. As an administrator:",
            "certutil -addstore -f Root ca.crt",
        ),
    ),
    (
        "macOS",
        (
            "Double-click <code>ca.crt</code>, add it to the keychain <i>System</i>, open it there, and set "
            "<i>Trust</i> to <i>Always trust</i>. Safari and Chrome use it. In a terminal:",
            "sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain ca.crt",
        ),
    ),
    (
        "iPhone and iPad",
        (
            "Open <code>ca.crt</code> in Safari and allow the profile. Install it under <i>Settings, General, VPN "
            "&amp; Device Management</i>, then switch it on under <i>Settings, General, About, Certificate Trust "
            "Settings</i>.",
        ),
    ),
    (
        "Android",
        (
            "<i>Settings, Security, Encryption &amp; credentials, Install a certificate, CA certificate</i>, and "
            "choose <code>ca.crt</code>. Chrome uses it; other apps only if they were made to.",
        ),
    ),
    (
        "Debian, Ubuntu",
        ("", "sudo cp ca.crt /usr/local/share/ca-certificates/airbundle-ca.crt && sudo update-ca-certificates"),
    ),
    (
        "RHEL, Rocky, Alma, Fedora",
        ("", "sudo cp ca.crt /etc/pki/ca-trust/source/anchors/airbundle-ca.crt && sudo update-ca-trust"),
    ),
    ("SUSE", ("", "sudo cp ca.crt /etc/pki/trust/anchors/airbundle-ca.crt && sudo update-ca-certificates")),
    (
        "Firefox, on any system",
        (
            "It has a store of its own: <i>Settings, Privacy &amp; Security, View Certificates, Authorities, Import</i>"
            ", and tick <i>Trust this CA to identify websites</i>.",
        ),
    ),
    (
        "Chrome and Chromium on Linux",
        (
            "They use a store of the user's own, not the system's:",
            'certutil -d sql:"$HOME/.pki/nssdb" -A -t C,, -n airbundle-ca -i ca.crt',
        ),
    ),
    ("Java", ("", "keytool -importcert -cacerts -noprompt -alias airbundle-ca -file ca.crt")),
    ("Python, curl, git", ("", "export SSL_CERT_FILE=$PWD/ca.crt REQUESTS_CA_BUNDLE=$PWD/ca.crt")),
)


def trust_page(roots: Sequence[Root], *, site: str = "") -> bytes:
    """Return the page; equal arguments give equal bytes.

    Args:
        roots: what people are to trust: one, during a change-over the new one and the one before.
        site: whose CA it is; empty where that isn't known.
    """
    of_site = f" of {escape(site)}" if site else ""
    parts = [
        f"<h1>Trust the CA{of_site}</h1>",
        "<p>Servers inside this site have certificates of the site's own CA. Your browser warns of them until it "
        f"trusts that CA: <a href='{CA_FILE}' download><b>{CA_FILE}</b></a>.</p>",
        "<p><b>First compare the fingerprint</b> with the one that your administrator gives you in another way, on "
        "paper or by telephone. Whoever could change this page could change the file, too.</p>",
        *(_described(root) for root in roots),
        "<p>See it of a file that you have: <code>openssl x509 -in ca.crt -noout -fingerprint -sha256</code>; on "
        "Windows <code>certutil -dump ca.crt</code>.</p>",
        *(part for name, step in _STEPS for part in _step(name, step)),
    ]
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    title = f"<title>Trust the CA{of_site}</title><style>{_STYLE}</style>"
    return "\n".join([head + title, *parts, "</html>", ""]).encode()


def _described(root: Root) -> str:
    fingerprint = ":".join(root.fingerprint[place : place + 2] for place in range(0, len(root.fingerprint), 2)).upper()
    rows = (
        ("Name", escape(root.subject)),
        ("SHA-256 fingerprint", f"<code>{escape(fingerprint)}</code>"),
        ("Valid until", f"{root.not_after:%Y-%m-%d}"),
        ("May vouch for", escape(root.permitted or "everything")),
    )
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows) + "</dl>"


def _step(name: str, step: Sequence[str]) -> Iterable[str]:
    yield f"<h2>{name}</h2>"
    if step[0]:
        yield f"<p>{step[0]}</p>"
    for command in step[1:]:
        yield f"<pre>{escape(command)}</pre>"
