"""What went wrong around a release, in words that say of which part it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airbundle.errors import AirbundleError


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """Let errors of the block begin with what they mean for the release."""
    try:
        yield
    except AirbundleError as error:
        error.problem = f"{what}: {error.problem}"
        error.args = (error.problem,)
        raise
