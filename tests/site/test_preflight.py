"""`airbundle preflight --site` on a real cluster: faults planted in it and in a bundle, all found in one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builder.conftest import UPSTREAM, Workshop, workshop
from tests.support import images
from tests.support.keys import PASSPHRASE, key_files
from tests.support.sealed import Site

__all__ = ["workshop"]

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
        - name: app
          image: {{ .Values.image }}
          env: [{name: HOST, value: "{{ .Values.host }}"}]
          ports: [{containerPort: 80}]
          resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {cpu: 200m, memory: 64Mi}}
          volumeMounts: [{name: data, mountPath: /data}]
      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {type: NodePort, selector: {app: app}, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: app}
stringData: {password: "{{ .Values.password }}"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: b}
"""
CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.berlin.dev}
spec:
  group: berlin.dev
  names: {kind: Thing, plural: things, singular: thing}
  scope: Namespaced
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"""
THING = "apiVersion: berlin.dev/v1\nkind: Thing\nmetadata: {name: one}\n"

BAD = """\
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: old}
spec: {maxUnavailable: 1}
---
apiVersion: nobody.dev/v1
kind: Unknown
metadata: {name: unknown}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {cert-manager.io/cluster-issuer: letsencrypt}}
spec:
  ingressClassName: nginx
  tls: [{hosts: [chat.example.com], secretName: web-tls}]
  rules:
    - host: chat.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: nobody, port: {number: 80}}}}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      priorityClassName: high
      nodeSelector: {disk: ssd}
      containers:
        - name: db
          image: UPSTREAM/arm:1.0
          envFrom: [{secretRef: {name: nowhere}}]
          env: [{name: P, valueFrom: {secretKeyRef: {name: partly, key: password}}}]
          ports: [{containerPort: 80, hostPort: 9999}]
  volumeClaimTemplates:
    - metadata: {name: d}
      spec: {storageClassName: fast, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers:
        - name: agent
          image: UPSTREAM/arm:1.0
          ports: [{containerPort: 80, hostPort: 9999}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: huge}
spec:
  selector: {matchLabels: {app: huge}}
  template:
    metadata: {labels: {app: huge}}
    spec:
      containers:
        - {name: a, image: UPSTREAM/app:1.0, resources: {requests: {cpu: 2000, memory: 1Mi}, limits: {cpu: 2000}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: nowhere}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: stuck, namespace: going}
"""

PLANTED = """\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Namespace
metadata: {name: bad}
---
apiVersion: v1
kind: Namespace
metadata: {name: going}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: holder, namespace: going, finalizers: [berlin.dev/never]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: small, namespace: shop}
spec: {hard: {requests.cpu: 60m, persistentvolumeclaims: "0"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: tight, namespace: shop}
spec: {limits: [{type: Container, max: {cpu: 100m}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {podSelector: {}, policyTypes: [Egress]}
---
apiVersion: v1
kind: Service
metadata: {name: taken, namespace: default}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
---
apiVersion: v1
kind: Secret
metadata: {name: partly, namespace: bad}
stringData: {user: postgres}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: dead}
webhooks:
  - name: dead.berlin.dev
    clientConfig: {service: {name: nobody, namespace: default}}
    failurePolicy: Fail
    sideEffects: None
    admissionReviewVersions: [v1]
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bad}}
    rules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [statefulsets]}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.gone.berlin.dev}
spec:
  group: gone.berlin.dev
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: nobody, namespace: default}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: porter, namespace: default}
spec:
  selector: {matchLabels: {app: porter}}
  template:
    metadata: {labels: {app: porter}}
    spec:
      containers: [{name: a, image: "localhost/probe:1", args: [serve], ports: [{containerPort: 8080, hostPort: 9999}]}]
"""
EXPECTED = {
    "cluster-uid", "kubernetes-target", "node-runtime", "node-access", "node-cordoned", "node-architecture",
    "unschedulable", "pod-too-large", "capacity", "quota", "limit-range", "pod-security", "storage-class",
    "storage-default", "api-removed", "api-missing", "api-service-down", "webhook-dead", "missing-secret",
    "missing-key", "missing-issuer", "missing-service", "ingress-class", "priority-class", "namespace-missing",
    "namespace-terminating", "helm-chart", "object-owner", "crd-owner", "node-port", "host-port", "network-policy",
    "dns-form", "registry-name", "placeholder", "weak-password", "example-host", "image-missing",
}  # fmt: skip


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Shop:
    """A bundle, a site file, and the command on them, at a real site."""

    def __init__(self, workshop: Workshop, site: Site) -> None:
        self.workshop, self.site, self.root = workshop, site, workshop.root
        self.private, self.public = key_files(self.root)
        for name, platform in (("app", "linux/amd64"), ("arm", "linux/arm64")):
            workshop.put(images.tiny_image(name, platform=platform), name, "1.0")

    def build(self, manifests: str = "", kubernetes: str = "1.33") -> Path:
        """Build a bundle of the chart, and of further manifests."""
        directory = self.workshop.inventory(
            images=[f"{UPSTREAM}/app:1.0", {"ref": f"{UPSTREAM}/arm:1.0", "platforms": ["linux/arm64"]}],
            charts=[
                {
                    "name": "app",
                    "path": "charts/app",
                    "release": {"name": "app", "namespace": "shop", "values": ["values/app.yaml"]},
                }
            ],
            manifests=[{"path": "bad.yaml", "release": {"name": "bad", "namespace": "bad"}}] if manifests else [],
            kubernetes={"version": kubernetes},
        )
        chart = directory / "charts/app"
        write(chart / "Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\n")
        write(chart / "templates/all.yaml", DEPLOYMENT)
        write(chart / "templates/thing.yaml", THING)
        write(chart / "crds/things.yaml", CRD)
        write(chart / "values.yaml", f"image: {UPSTREAM}/app:1.0\nhost: ''\npassword: ''\n")
        write(directory / "values/app.yaml", "host: app.{{ site.domain }}\n")
        write(directory / "bad.yaml", manifests)
        out = self.root / f"out-{kubernetes}"
        out.mkdir()
        assert self.workshop.lock().code == 0
        answer = self.workshop.build(out, "--key", self.private)
        assert answer.code == 0, answer.text
        return Path(answer.body["path"])

    def site_file(self, values: dict[str, Any], **fields: Any) -> Path:
        """Write a site file with values for the chart."""
        document = {
            "apiVersion": "airbundle.dev/v1",
            "kind": "Site",
            "metadata": {"name": "berlin-1"},
            "domain": "berlin.internal",
            "dns": {"zone": "berlin.internal", "records": {}},
            "nodes": {"access": "manual"},
            "values": {"app": "app.yaml"},
            **fields,
        }
        directory = self.root / "site"
        write(directory / "site.yaml", json.dumps(document))
        write(directory / "app.yaml", yaml.safe_dump(values))
        return directory / "site.yaml"

    def preflight(self, bundle: Path, site_file: Path, *words: str | Path) -> tuple[int, list[dict[str, str]]]:
        """Run the command on the operator's host; return its code and findings."""
        state: list[str | Path] = ["--state-dir", self.root / "state", "--cache-dir", self.root / "cache"]
        options: list[str | Path] = ["--key", self.public, "--site", site_file, "--json", *state, *words]
        done = self.site.airbundle("preflight", bundle, *options, check=False)
        document = json.loads(done.stdout)
        findings = [each for error in document["errors"] for each in error.get("findings", [])]
        return done.returncode, findings or document.get("findings", [])


@pytest.fixture
def shop(workshop: Workshop, bare_site: Site, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The bundle's makings, and a cluster to break."""
    monkeypatch.setenv("AIRBUNDLE_KEY_PASSPHRASE", PASSPHRASE.decode())
    return Shop(workshop, bare_site)


def plant(shop: Shop) -> None:
    """Break the cluster in many ways."""
    site = shop.site
    site.apply(PLANTED)
    site.apply(CRD)
    owner = ["meta.helm.sh/release-name=others", "meta.helm.sh/release-namespace=default"]
    site.kubectl("annotate", "crd", "things.berlin.dev", *owner)
    chart = shop.root / "other"
    write(chart / "Chart.yaml", "apiVersion: v2\nname: other\nversion: 9.0.0\n")
    write(chart / "templates/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs}\n")
    site.python(HELM, "install", "app", chart, "--namespace", "shop")
    site.kubectl("delete", "namespace", "going", "--wait=false")
    site.kubectl("annotate", "storageclass", "standard", "storageclass.kubernetes.io/is-default-class-")
    site.kubectl("cordon", site.nodes[1])
    broken = json.dumps({"data": {"Corefile": "berlin.internal {\n    forward . 10.0.0.1\n}\n"}})
    site.kubectl("-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "-p", broken)
    site.host("sh", "-c", "echo 10.203.0.99 registry.berlin.internal >> /etc/hosts")
    site.kubectl("-n", "default", "rollout", "status", "daemonset/porter", "--timeout=120s")


HELM = """
import subprocess, sys
from airbundle.transfer.helm import Helm
subprocess.run([Helm.find(side="site").program, *sys.argv[1:]], check=True)
"""


def of(findings: list[dict[str, str]], severity: str) -> set[str]:
    return {each["code"] for each in findings if each.get("severity") == severity}


def test_planted_faults_are_all_found_in_one_run(shop: Shop) -> None:
    good = shop.site_file({"password": "h7-Qx.93kzP"})
    first = shop.build()
    code, findings = shop.preflight(first, good)
    assert (code, of(findings, "error")) == (0, set()), findings

    plant(shop)
    values = {"password": "changeme", "host": "CHANGE_TO_YOUR_HOST", "image": f"{UPSTREAM}/missing:1.0"}
    wrong: dict[str, Any] = {
        "cluster": {"uid": "00000000-0000-0000-0000-000000000000"},
        "nodes": {"access": "local", "runtime": "crio"},
    }
    bundle = shop.build(BAD.replace("UPSTREAM", UPSTREAM), "1.32")
    code, findings = shop.preflight(bundle, shop.site_file(values, **wrong))
    assert code == 3
    found = {each["code"] for each in findings}
    assert not EXPECTED - found, findings
    assert "changeme" not in json.dumps([each for each in findings if each["code"] == "weak-password"])
    assert len(found) >= 15


def test_who_may_see_little_is_told_what_lacks(shop: Shop) -> None:
    bundle, site_file = shop.build(), shop.site_file({"password": "h7-Qx.93kzP"})
    site = shop.site
    site.kubectl("create", "namespace", "shop")
    site.kubectl("-n", "shop", "create", "serviceaccount", "robot")
    site.kubectl("-n", "shop", "create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=shop:robot")
    token = site.kubectl("-n", "shop", "create", "token", "robot").strip()
    admin = yaml.safe_load(site.host("cat", "/etc/kubernetes/admin.conf").stdout)
    admin["users"][0]["user"] = {"token": token}
    kubeconfig = shop.root / "robot.yaml"
    kubeconfig.write_text(yaml.safe_dump(admin))
    phases = "registry,dns,trust,secrets,releases"  # the nodes are left to an administrator
    code, findings = shop.preflight(bundle, site_file, "--kubeconfig", kubeconfig, "--phases", phases)
    assert code == 3
    assert of(findings, "error") == {"rbac"}
    assert "fact-unread" in of(findings, "warning")
    denied = [each["message"] for each in findings if each["code"] == "rbac" and each["where"] == "namespace shop"]
    assert any("create" in message and "deployments.apps" in message for message in denied)
