"""The folders that a run has for itself while it lasts: its work_dir, and the folder of its output."""

from __future__ import annotations

import errno
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import NoReturn

from spark_imgdedup.config import Config
from spark_imgdedup.errors import without_credentials
from spark_imgdedup.files.owning import lease
from spark_imgdedup.files.owning.lease import Place

log = logging.getLogger(__name__)


def places(planned: Sequence[str], config: Config) -> list[Place]:
    """What the planned steps write to and nobody else may meanwhile.

    Not a Delta table that many write to: it has no owner, and its log tells of every writer.
    """
    if set(planned) <= {"report"}:
        return []
    found = [Place("work_dir", config.work_dir, config.storage_options)]
    path = config.output.path
    if "remove" in planned and path is not None and config.output.mode == "overwrite":
        found.append(Place("output.path", path, config.output.storage_options))
    return found


def require_free(planned: Sequence[str], config: Config) -> None:
    """Look, before Spark starts, whether another run holds one of these folders.

    Raises:
        LeaseError: who, since when, and what to do.
    """
    for place in places(planned, config):
        lease.require_free(place)


def held_by_others(planned: Sequence[str], config: Config) -> list[str]:
    """Who holds these folders, in words; writes nothing."""
    told = ((place, lease.holder_in_words(place)) for place in places(planned, config))
    return [f"{place.setting} {without_credentials(place.url)}, {who}" for place, who in told if who is not None]


@contextmanager
def held(planned: Sequence[str], config: Config) -> Iterator[None]:
    """Inside, the folders are this run's; they are given back however it ends, by SIGTERM too.

    Raises:
        LeaseError: another run holds one of them.
    """
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        for place in places(planned, config):
            try:
                taken = lease.take(place, f"steps {', '.join(planned)}")
            except OSError as error:
                if place.setting == "work_dir" or not _is_refusal(error):
                    raise
                # A finished output may lie where nothing can be written any more: its step is skipped then.
                log.debug("%s %s cannot be written to, and is not held", place.setting, place.url, exc_info=error)
                continue
            stack.callback(_give_back, taken, place)
        yield


def _is_refusal(error: OSError) -> bool:
    return error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} or isinstance(error, PermissionError)


def _give_back(taken: lease.Lease, place: Place) -> None:
    try:
        taken.release()
    except Exception as error:  # of each store's own kind: the run itself may have gone well
        log.warning("%s %s could not be given back and stays held for a while: %s", place.setting, place.url, error)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends this process as it would have, once what is held was given back."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)  # as a shell reports it
