"""Which endpoint of a repository is asked: mirrors, then the host; and which one knows what hangs on an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional, TypeVar

from airbundle.errors import AirbundleError, DigestMismatch, NotFound, RemoteError
from airbundle.transfer.hosts import Endpoint

T = TypeVar("T")
Operation = Callable[[Endpoint, Optional[float]], T]
"""What is done at an endpoint, with at most so many seconds of failing connections (None: the settings' own)."""


class Endpoints:
    """The endpoints of one repository.

    Args:
        endpoints: where to read, in order.
        mirror_time: seconds that connections to an endpoint that has others behind it may keep failing.
        passed_over: told of each failure after which another endpoint is asked.
        is_down: whether an endpoint was given up a short while ago: it is not asked where there is another.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        mirror_time: float,
        passed_over: Callable[[Endpoint, AirbundleError], None],
        is_down: Callable[[Endpoint], bool],
    ) -> None:
        self._endpoints = endpoints
        self._mirror_time = mirror_time
        self._passed_over = passed_over
        self._is_down = is_down
        self._home: Endpoint | None = None

    def each(self, operation: Operation[T]) -> T:
        """Run `operation` at each endpoint until one answers; the last one's error counts."""
        for endpoint in self._endpoints[:-1]:
            if self._is_down(endpoint):
                continue
            try:
                return operation(endpoint, self._mirror_time)
            except (RemoteError, DigestMismatch) as error:
                self._passed_over(endpoint, error)
        return operation(self._endpoints[-1], None)

    def manifest(self, operation: Operation[T]) -> T:
        """Ask for a manifest as `each` does, and remember which endpoint gave the first one."""

        def noted(endpoint: Endpoint, budget: float | None) -> T:
            found = operation(endpoint, budget)
            self._home = self._home or endpoint
            return found

        return self.each(noted)

    def beside(self, operation: Operation[T]) -> T:
        """Ask for what hangs on an image: the endpoint that gave the first manifest decides, for it knows its images.

        The others may be out of reach, or know other images: they are asked only when that one fails.
        """
        home = self._home
        if home is None:
            return self.each(operation)
        try:
            return operation(home, None)
        except NotFound:
            raise
        except (RemoteError, DigestMismatch) as error:
            others = [endpoint for endpoint in self._endpoints if endpoint != home]
            if not others:
                raise
            self._passed_over(home, error)
        return Endpoints(others, self._mirror_time, self._passed_over, self._is_down).each(operation)
