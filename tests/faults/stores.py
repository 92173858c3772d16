"""A store on the way to which a process dies, or gets no answer, at a chosen request."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from tests.faults.disks import DEAD

# The process ends at a request, before or after the store has got it; or a request fails after all retries.
KINDS = ("killed", "error")


@dataclass(frozen=True)
class StoreFault:
    """What happens at which request, counted from 1; at 0 nothing does."""

    kind: str = "killed"
    at: int = 0
    seed: int = 0  # even: before the store has got it


class Store:
    """All of s3fs in this process, with one fault."""

    def __init__(self, fault: StoreFault) -> None:
        self._fault = fault
        self.n_operations = 0

    def install(self) -> None:
        """From now on, in this process, for good."""
        import s3fs

        real, is_before = s3fs.S3FileSystem._call_s3, self._fault.seed % 2 == 0

        async def call(fs, method, *arguments, **named):
            self.n_operations += 1
            is_now = self.n_operations == self._fault.at
            if is_now and is_before:
                self._fail()
            answer = await real(fs, method, *arguments, **named)
            if is_now:
                self._fail()
            return answer

        s3fs.S3FileSystem._call_s3 = call

    def _fail(self) -> None:
        if self._fault.kind == "killed":
            os._exit(DEAD)
        raise OSError(errno.EIO, "the store does not answer")
