"""What runs in a cluster, asked through its API: a container's log, a Service's HTTP answer."""

from __future__ import annotations

from urllib.parse import quote

from airbundle.transfer.cluster_exec import ExecCalls
from airbundle.transfer.problems import Response

LOG_LIMIT = 1 << 20
ANSWER_LIMIT = 4 << 20
_ALL = frozenset(range(200, 600))
_PATH = "/%:@!$&'()*+,;=~-._"


class PodCalls(ExecCalls):
    """A cluster's API, to read from and to ask what runs there."""

    def logs(self, namespace: str, pod: str, container: str = "", *, lines: int = 200, previous: bool = False) -> str:
        """Return the end of a container's log, at most 1 MiB; it may hold secrets.

        Args:
            namespace, pod: where it runs.
            container: by default the only one.
            lines: how many.
            previous: of the container that ran before it was restarted.

        Raises:
            NotFound, Unauthorized, Refused, Unreachable, RemoteError: no good answer.
        """
        what = f"cluster {self.name}: log of {namespace}/{pod}"
        query = [("tailLines", str(lines)), ("limitBytes", str(LOG_LIMIT))]
        query += [("container", container)] if container else []
        query += [("previous", "true")] if previous else []
        path = f"{pod_path(namespace, pod)}/log"
        # 500 and 502 are mostly those of a node that is gone: who asks why something failed is not to wait for it.
        response = self.call("GET", path, what=what, query=query, accept="*/*", expect=_ALL, limit=LOG_LIMIT * 2)
        if response.status != 200:
            self.refuse(response, what)
        return response.body.decode("utf-8", "replace")

    def service_get(
        self, namespace: str, service: str, port: int | str, path: str = "/", scheme: str = "http"
    ) -> tuple[int, bytes]:
        """Return status and body of what a Service answers to GET, asked by the API server from within the cluster.

        No answer of the Service is an error, nor is it tried again: 503 is also what the API server says of one that
        has no pod which is ready.

        Args:
            namespace, service: names it.
            port: number or name of its port.
            path: with a query, if there is one.
            scheme: `https` is not verified by the API server.

        Raises:
            Unauthorized: this user may not (`services/proxy`).
            Unreachable, RemoteError: the API server does not answer, or with more than 4 MiB.
        """
        what = f"cluster {self.name}: GET {path} of service {namespace}/{service}:{port}"
        prefix = "https:" if scheme == "https" else ""
        name = quote(f"{prefix}{service}:{port}", safe=":")
        within, _, query = path.lstrip("/").partition("?")
        address = f"/api/v1/namespaces/{quote(namespace, safe='')}/services/{name}/proxy/{quote(within, safe=_PATH)}"
        full = f"{address}?{quote(query, safe=_PATH + '?')}" if query else address
        response = self.call("GET", full, what=what, accept="*/*", expect=_ALL, limit=ANSWER_LIMIT)
        if response.status in (401, 403) and _of_the_api(response):
            self.refuse(response, what)
        return response.status, response.body


def _of_the_api(response: Response) -> bool:
    """Tell whether an answer through the proxy is the API server's own."""
    return b'"kind":"Status"' in response.body.replace(b" ", b"")[:200]


def pod_path(namespace: str, pod: str) -> str:
    """Return the path of a pod in the API."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
