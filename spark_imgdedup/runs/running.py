"""What a run says of itself while it lasts, in a hidden file of its work_dir, for `status` in another process."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from spark_imgdedup.config import Config
from spark_imgdedup.errors import LeaseError, without_credentials
from spark_imgdedup.files import storage, writing
from spark_imgdedup.runs.pace import Pace

log = logging.getLogger(__name__)

# Beside the lease, hidden like it.
FILE = ".spark_imgdedup.progress.json"


class Running:
    """The file of one run; what cannot be written there costs a line of `status` and not the run."""

    def __init__(self, planned: Sequence[str], config: Config) -> None:
        self._url, self._options = storage.join(config.work_dir, FILE), config.storage_options
        self._about: dict[str, Any] = {"steps": list(planned), "since": _now(), "state": "running"}
        self._lock = threading.Lock()

    def begins(self, step: str, purpose: str) -> None:
        """A step has begun."""
        found = {"step": step, "purpose": purpose, "step_since": _now()}
        self._write(found | dict.fromkeys(("said", "share", "seconds_left", "per_second")))

    def note(self, pace: Pace) -> None:
        """How far it is."""
        numbers = {"share": pace.share, "seconds_left": pace.seconds_left, "per_second": pace.per_second}
        self._write({"said": pace.line(), **numbers})

    def ends(self, error: BaseException | None) -> None:
        """The run is over: nothing is left of the file, unless it has failed."""
        if error is None:
            storage.delete(self._url, self._options)
        elif not isinstance(error, LeaseError):  # the folder may be another run's by now
            self._write({"state": "failed", "error": without_credentials(f"{type(error).__name__}: {error}")[:1000]})

    def _write(self, found: dict[str, Any]) -> None:
        with self._lock:
            self._about |= found | {"at": _now()}
            try:
                writing.write_bytes(self._url, (json.dumps(self._about, indent=1) + "\n").encode(), self._options)
            except Exception:  # of any store
                log.debug("no word of this run in %s", self._url, exc_info=True)


_RUNNING: ContextVar[Running | None] = ContextVar("running", default=None)


@contextmanager
def told(planned: Sequence[str], config: Config) -> Iterator[None]:
    """Inside, what the run does is told in its work_dir; a run that only reports writes nothing there."""
    if set(planned) <= {"report"}:
        yield
        return
    ours = Running(planned, config)
    before = _RUNNING.set(ours)
    error: BaseException | None = None
    try:
        yield
    except BaseException as found:
        error = found
        raise
    finally:
        _RUNNING.reset(before)
        try:
            ours.ends(error)
        except Exception:  # of any store
            log.debug("what this run said of itself stays", exc_info=True)


def current() -> Running | None:
    """That of the run that this is called from."""
    return _RUNNING.get()


def read(work_dir: str, options: storage.Options) -> dict[str, Any] | None:
    """What the latest run says of itself, or said last before it was killed or failed; None where it ended well."""
    try:
        found = json.loads(storage.read_text(storage.join(work_dir, FILE), options))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
