"""http.client's response as an `Answer`: read straight into the caller's buffer, then given back for reuse."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from types import TracebackType

from airbundle.transfer.faults import os_fault
from airbundle.transfer.pace import Pace
from airbundle.transfer.settings import HttpSettings
from airbundle.transfer.wire import Fault, Headers


class BulkAnswer:
    """An answer that reads one `recv` at a time.

    `HTTPResponse.readinto` returns only when the buffer is full: a server that drips one byte a minute would never
    be noticed. So bodies of known length are read from its buffered reader, one system call at a time.

    Args:
        response: its head has been read.
        settings: how long the line may stall.
        release: called once; with True when the connection can serve another request.
    """

    def __init__(
        self,
        response: http.client.HTTPResponse,
        settings: HttpSettings,
        release: Callable[[bool], None],
    ) -> None:
        self.status = response.status
        self.headers = Headers(response.getheaders())
        self._release = release
        self._response = response
        self._left = response.length
        self._ended = False
        self._pace = Pace(settings)

    def readinto(self, buffer: memoryview) -> int:
        """Read some bytes of the body."""
        try:
            count = self._read(buffer)
        except OSError as error:
            raise os_fault(error, connecting=False) from None
        except http.client.HTTPException as error:
            raise Fault(f"the body broke off: {type(error).__name__}") from None
        except ValueError:
            raise Fault("the connection was closed") from None
        if count:
            self._pace.moved(count)
        return count

    def _read(self, buffer: memoryview) -> int:
        response = self._response
        if self._left is None:
            data = response.read1(len(buffer))  # chunked, or until the connection closes
            buffer[: len(data)] = data
            return len(data)
        if not self._left or not len(buffer):
            return 0
        reader = response.fp
        count = reader.readinto1(buffer[: self._left] if len(buffer) > self._left else buffer)
        if not count:
            raise Fault(f"the connection ended {self._left} bytes too early")
        self._left -= count
        return count

    def _at_end(self) -> bool:
        if self._left is None:
            return self._response.isclosed()
        if self._left:
            return False
        # http.client counts what its own methods read; told that nothing is left, it closes the response.
        self._response.length = 0
        self._response.read(0)
        return True

    def __enter__(self) -> BulkAnswer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return  # the connection may serve another thread by now
        self._ended = True
        reusable = kind is None and not self._response.will_close and self._drained()
        self._response.close()
        self._release(reusable)

    def _drained(self) -> bool:
        """Read the little that may be left (an error's text) so that the connection can be used again."""
        if self._at_end():
            return True
        with memoryview(bytearray(16 * 1024)) as view:
            try:
                for _ in range(4):
                    if not self.readinto(view):
                        break
            except Fault:
                return False
        return self._at_end()
