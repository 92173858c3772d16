"""Many threads that do one thing at the same moment."""

from __future__ import annotations

import threading
from contextlib import suppress

from spark_imgdedup.errors import LeaseError
from spark_imgdedup.files.owning.lease import take

N_THREADS = 8


def at_once(work):
    """Call `work` in each of N_THREADS threads, and wait until all have ended."""
    ready = threading.Barrier(N_THREADS)

    def run():
        ready.wait()
        work()

    threads = [threading.Thread(target=run) for _ in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def taken_at_once(place):
    """The leases that threads get which want a folder at the same moment."""
    taken = []

    def want():
        with suppress(LeaseError):
            taken.append(take(place, "steps embed"))

    at_once(want)
    return taken
