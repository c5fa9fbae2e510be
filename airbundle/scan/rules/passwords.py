"""Passwords that everybody knows: defaults of charts, and those that people take for the time being.

A finding never holds the password, only where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from airbundle.errors import Finding
from airbundle.scan.model import Manifest
from airbundle.scan.rules.scene import Scene, tell, with_where
from airbundle.scan.rules.texts import Text, secret_data

_KNOWN = """
    admin admin123 admin1234 adminadmin administrator password password1 password123 passw0rd p@ssw0rd p@ssword pass
    pass123 secret secret123 secretpassword mysecretpassword supersecret super-secret supersecretpassword s3cr3t default
    root root123 rootpassword rootpass toor guest user test test123 testing demo example insecure letmein qwerty welcome
    welcome1 12345 123456 1234567 12345678 123456789 1234567890 abc123 iloveyou monkey dragon master
    postgres postgresql mysql mariadb redis mongo mongodb rabbitmq minio minio123 minioadmin minioadmin123 console123
    grafana prom-operator prometheus elastic kibana opensearch keycloak synapse matrix mattermost rocketchat nextcloud
    gitea gitlab harbor harbor12345 vault consul nats kafka strongpassword strong-password verysecret very-secret
    yourpassword your-password mypassword my-password my-secret-password dbpassword db-password databasepassword
    changeme changeit change-me change_me changethis rootpassw0rd notsecure not-secure foo bar foobar foobarbaz
    thisisverysecret somesecret some-secret-key secretkey secret-key secret_key accesskey devkey dev setme set-me
    """
KNOWN = frozenset(_KNOWN.split())
_NAMED = (
    r"pass(?:word|wd|phrase)?|pwd|secret(?:[_-]?key)?|api[_-]?key|(?:auth|access|api|admin|bearer)[_-]?token"
    r"|encryption[_-]?key"
)
_PASSWORD_NAME = re.compile(rf"(?i)(?:{_NAMED})$")
_OF_PASSWORDS = re.compile(r"(?i)(?:existing|name$|ref$|file$|path$|dir$|(?:password|token)[_-]?key$|enabled$)")
_SECRET_KEY = re.compile(r"(?i)secret[_-]?key$")
_KEY_NAMES = frozenset(
    {"password", "secret", "secretkey", "secret-key", "secret_key", "admin", "root", "user", "redis", "postgres"}
)
"""What `secretKey` may hold where it means the key of a Secret."""
_OWN_SECRET = re.compile(r"(?i)(?:shared|client|jwt|cookie|session|form|macaroon|signing)[_-]?secret$")
"""In fields and values other names that end so mostly mean the name of a Secret."""
_USER_NAME = re.compile(r"(?i)(?:user(?:name)?|login|account)$")
_SETTING = re.compile(
    rf"""({_NAMED})["']?[ \t]{{0,20}}[:=][ \t]{{0,20}}"""
    r"""(?:"([^"\n]{0,200})"|'([^'\n]{0,200})'|([^\s"'#,;}]{1,200}))"""
)
_NAME_BEFORE = re.compile(r"[\w.-]{0,60}$")
_IN_URL = re.compile(r"://[^\s/:@\"']{0,100}:([^\s/@\"']{1,200})@")


def find(scene: Scene) -> Iterator[Finding]:
    """Yield the weak passwords in what is given, in Secrets, environment, arguments and configuration."""
    told: set[str] = set()
    for index in scene.indexes:
        for leaf in index.given:
            if is_weak(leaf.key, leaf.value, in_field=True) and str(leaf) not in told:
                told.add(str(leaf))
                yield with_where(_FINDING, str(leaf))
    for manifest in scene.by_kind.get("Secret", ()):
        yield from _same_as_user(scene, manifest)
    for text in scene.texts:
        for line in _weak_lines(text):
            finding = tell(scene, line, "", _FINDING, same_name=True)
            if finding.where not in told:
                yield finding


def _weak_lines(text: Text) -> Iterator[Text]:
    if text.source == "annotation" or text.manifest.kind == "ExternalSecret":
        return
    if "\n" not in text.value.strip() and is_weak(text.name, text.value, in_field=text.source == "field"):
        yield text
        return
    if not any(is_weak(name, password) for name, password in _settings(text.value)):
        return
    for line in text.lines():
        for name, password in _settings(line.value):
            if is_weak(name, password):
                yield Text(line.manifest, line.path, name, password, line.source)


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Names and passwords in a text, in lower case: patterns that look at the case of no letter are much faster."""
    text = text.lower()
    for match in _SETTING.finditer(text):
        before = _NAME_BEFORE.search(text, max(0, match.start() - 60), match.start())
        yield (before[0] if before else "") + match[1], match[2] or match[3] or match[4] or ""
    for match in _IN_URL.finditer(text):
        yield "password", match[1]


def _same_as_user(scene: Scene, manifest: Manifest) -> Iterator[Finding]:
    """A password that equals the user's name beside it."""
    held = secret_data(manifest)
    users = {value for key, value in held.items() if value and _USER_NAME.search(key)}
    for key, value in held.items():
        if value in users and _is_password(key) and value.lower() not in KNOWN:
            yield tell(scene, Text(manifest, f"data.{key}", key, value, "secret"), "", _FINDING, same_name=True)


def is_weak(name: str, value: str, *, in_field: bool = False) -> bool:
    """Tell whether a value is a password that everybody knows.

    Args:
        name: what it is called; says whether it is a password. Keys of values are taken by their last part.
        value: what it is.
        in_field: it stands in a field of an object or in values, where names of Secrets stand, too.
    """
    value, last = value.strip().lower(), _last(name)
    if value not in KNOWN or not _is_password(last):
        return False
    if _SECRET_KEY.search(last) and value in _KEY_NAMES:
        return False
    return not (in_field and last.lower().endswith("secret") and _OWN_SECRET.search(last) is None)


def _is_password(name: str) -> bool:
    last = _last(name)
    return _PASSWORD_NAME.search(last) is not None and _OF_PASSWORDS.search(last) is None


def _last(name: str) -> str:
    return re.split(r"[.\]\[]", name.replace("\\.", "-").rstrip("]"))[-1]


_FINDING = Finding(
    "a password that everybody knows",
    code="weak-password",
    expected="one that is made at the site",
    hint="have the site make the Secret (`secrets` of site.yaml), and name it in the values",
)
