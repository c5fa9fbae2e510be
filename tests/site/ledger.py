"""A ledger in PostgreSQL: versions that fail, two of them after they migrated the database, and two that come up."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from tests.site.desk import Desk
from tests.support.real_images import POSTGRES
from tests.support.sealed import CHECKOUT

NAMESPACE = "ledger"
FIRST = "1.0.0"
NO_BACKUP = "1.0.1"
"""Its backup fails."""
BROKEN, BROKEN_TOO = "1.1.0", "1.1.1"
"""They migrate the database and then crash."""
GOOD = SECOND, THIRD = "1.4.0", "1.5.0"
"""They change what is written, come up, and keep each backup by its name."""

_CHARTS = CHECKOUT / "manifests-index" / "messenger-small" / "charts"
_PROGRAM = """\
use IO::Socket::INET;
my $socket = IO::Socket::INET->new(LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die;
while (my $client = $socket->accept) {
    while (<$client>) { last if /^\\r?$/ }
    my $rows = `psql -X -At -c 'SELECT author, body FROM entries ORDER BY id' 2>&1`;
    my $status = $? ? "500 Failed" : "200 OK";
    print $client "HTTP/1.0 $status\\r\\nContent-Length: " . length($rows) . "\\r\\n\\r\\n$rows";
    close $client;
}
"""
_TABLE = "CREATE TABLE IF NOT EXISTS entries (id serial PRIMARY KEY, author text NOT NULL, body text NOT NULL)"
_MIGRATION = """\
DO $do$ BEGIN
  IF EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'entries' AND column_name = 'author') THEN
    UPDATE entries SET body = 'migrated';
    ALTER TABLE entries RENAME COLUMN body TO message;
    ALTER TABLE entries DROP COLUMN author;
  END IF;
END $do$
"""


def build(desk: Desk, version: str, *words: str | Path) -> Path:
    """Build the bundle of a version; `words` go to `build`, such as `--base OLD`."""
    inventory = desk.root / f"inventory-{version}"
    _write(inventory, version)
    shutil.copytree(_CHARTS / "postgres", inventory / "charts" / "postgres", dirs_exist_ok=True)
    return desk.build(inventory, *words)


def site_file(root: Path) -> Path:
    """Write the site file."""
    path = root / "site.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        apiVersion: airbundle.dev/v1
        kind: Site
        metadata: {{name: ledger}}
        domain: ledger.internal
        nodes: {{runtime: containerd, access: daemonset}}
        secrets:
          - {{name: postgres, namespace: {NAMESPACE}, keys: {{password: random}}}}
        """)
    )
    return path


def _write(root: Path, version: str) -> None:
    files = {
        "bundle.yaml": _bundle(version),
        "values/postgres.yaml": "databases: [ledger]\n",
        "charts/app/Chart.yaml": f"apiVersion: v2\nname: app\nversion: {version}\n",
        "charts/app/templates/schema.yaml": _schema(version),
        "charts/app/templates/app.yaml": _app(version),
        "backup/dump.yaml": _CLAIM + _job("dump", _dump(version), volume=True, apart=version in GOOD),
        "backup/restore.yaml": _job("restore", _restore(version), volume=True, apart=version in GOOD),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _bundle(version: str) -> str:
    migrates = "" if version == FIRST else "before: [backup/dump.yaml]\n              restore: [backup/restore.yaml]"
    return textwrap.dedent(f"""\
        apiVersion: airbundle.dev/v1
        kind: Bundle
        metadata: {{name: ledger, version: {version}}}
        images: ["{POSTGRES}"]
        charts:
          - name: postgres
            path: charts/postgres
            release:
              name: postgres
              namespace: {NAMESPACE}
              values: [values/postgres.yaml]
              rollback: never
              checks: [{{sql: {{pod: StatefulSet/postgres, database: ledger}}}}]
          - name: app
            path: charts/app
            release:
              name: app
              namespace: {NAMESPACE}
              needs: [postgres]
              timeout: 3m
              checks: [{{http: "http://app.{NAMESPACE}.svc:80/", status: 200}}]
              {migrates}
        """)


_CONTAINER = f"""\
image: {POSTGRES}
env:
  - {{name: PATH, value: "/usr/lib/postgresql/15/bin:/usr/bin:/bin"}}
  - {{name: PGHOST, value: postgres}}
  - {{name: PGUSER, value: postgres}}
  - {{name: PGDATABASE, value: ledger}}
  - {{name: PGPASSWORD, valueFrom: {{secretKeyRef: {{name: postgres, key: password}}}}}}
"""


def _app(version: str) -> str:
    comes_up = version in (FIRST, *GOOD)
    program = _PROGRAM if comes_up else 'die "the ledger does not start\\n";\n'
    # A controller that gives up early is a test that ends early.
    deadline = 600 if comes_up else 8
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: app}}
spec: {{selector: {{app: app}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: app-{version}}}
data:
  app.pl: |
{textwrap.indent(program, "    ")}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app}}
spec:
  progressDeadlineSeconds: {deadline}
  selector: {{matchLabels: {{app: app}}}}
  template:
    metadata: {{labels: {{app: app}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: app
          command: [perl, /app/app.pl]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
          volumeMounts: [{{name: app, mountPath: /app}}]
{textwrap.indent(_CONTAINER, " " * 10)}
      volumes: [{{name: app, configMap: {{name: app-{version}}}}}]
"""


def _schema(version: str) -> str:
    changed = f"UPDATE entries SET body = body || ' in {version}'"
    sql = _TABLE if version == FIRST else changed if version in GOOD else _MIGRATION
    hook = "annotations: {helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-delete-policy: before-hook-creation}"
    return _job("schema", f"psql -X -1 -v ON_ERROR_STOP=1 <<'END'\n{sql}\nEND\n", hook)


_CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backup}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
"""
_KEPT = '"/backup/$AIRBUNDLE_BACKUP.dump"'


def _restore(version: str) -> str:
    kept = _KEPT if version in GOOD else "/backup/ledger.dump"
    return f"pg_restore --clean --if-exists --single-transaction -d ledger {kept}\n"


def _dump(version: str) -> str:
    if version == NO_BACKUP:
        return "echo 'the disk of the backups is full' >&2; exit 1\n"
    if version in GOOD:
        return f"pg_dump -Fc -f {_KEPT} ledger\n"
    return "pg_dump -Fc -f /backup/new ledger && mv /backup/new /backup/ledger.dump\n"


def _job(name: str, script: str, annotations: str = "", *, volume: bool = False, apart: bool = False) -> str:
    container = _CONTAINER + ("  - {name: AIRBUNDLE_BACKUP}\n" if apart else "")
    mounted = "volumeMounts: [{name: backup, mountPath: /backup}]" if volume else ""
    volumes = "volumes: [{name: backup, persistentVolumeClaim: {claimName: backup}}]" if volume else ""
    return f"""\
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
  {annotations}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      {volumes}
      containers:
        - name: {name}
          command:
            - sh
            - -ec
            - |
{textwrap.indent(script, " " * 14)}
          {mounted}
{textwrap.indent(container, " " * 10)}
"""
