"""The least that can be done, in a process of its own: `python -m benchmarks.floors build|push HOST LIST [FILE]`.

`build`: each blob is fetched once over loopback, hashed, and written once to its place in one preallocated file.
`push`: each blob goes from its file to a registry by `sendfile`, without being hashed.
Both over four connections, the largest blob first. Printed are the seconds without the start of Python.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 4
BUFFER = 128 * 1024

Job = tuple[str, str, int, str]
"""Repository, digest, size in bytes, and the file with the bytes."""


def build(host: str, jobs: list[Job], target: str) -> None:
    """Fetch, hash and write every blob."""
    places, position = [], 0
    for job in jobs:
        places.append((job, position))
        position += job[2]
    fd = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.posix_fallocate(fd, 0, position)

    def work() -> None:
        connection = http.client.HTTPConnection(host)
        buffer = memoryview(bytearray(BUFFER))
        while places:
            try:
                (repository, digest, _, _), offset = places.pop(0)
            except IndexError:
                return
            connection.request("GET", f"/v2/{repository}/blobs/{digest}")
            response = connection.getresponse()
            hasher = hashlib.sha256()
            while count := response.readinto(buffer):
                hasher.update(buffer[:count])
                os.pwrite(fd, buffer[:count], offset)
                offset += count
            assert "sha256:" + hasher.hexdigest() == digest

    _threads(work)
    os.close(fd)


def push(host: str, jobs: list[Job]) -> None:
    """Send every blob to the repository that needs it."""
    left = list(jobs)

    def work() -> None:
        connection = http.client.HTTPConnection(host)
        while left:
            try:
                repository, digest, size, path = left.pop(0)
            except IndexError:
                return
            connection.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            place = urlsplit(answer.headers["Location"])
            connection.putrequest("PUT", f"{place.path}?{place.query}&digest={digest}")
            connection.putheader("Content-Length", str(size))
            connection.putheader("Content-Type", "application/octet-stream")
            connection.endheaders()
            with Path(path).open("rb") as file:
                connection.sock.sendfile(file)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201, answer.status

    _threads(work)


def _threads(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work) for _ in range(CONNECTIONS)]:
            done.result()  # a floor that has failed is none


def main() -> None:
    """Do one of them and print its seconds."""
    kind, host, listed, *target = sys.argv[1:]
    jobs: list[Job] = [(name, digest, size, path) for name, digest, size, path in json.loads(Path(listed).read_text())]
    began = time.monotonic()
    if kind == "build":
        build(host, jobs, target[0])
    else:
        push(host, jobs)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main()
