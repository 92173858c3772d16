"""What is shown while a step runs: how far it is, how fast it goes, how long the rest takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from spark_imgdedup.files.parts.counters import parts_below
from spark_imgdedup.runs.classic import TasksOfGroup, job_group
from spark_imgdedup.runs.display import open_display, show_log_in_notebooks
from spark_imgdedup.runs.pace import Pace, PaceOfParts, PaceOfTasks
from spark_imgdedup.runs.running import current

if TYPE_CHECKING:
    from spark_imgdedup.runs.tables import Tables

log = logging.getLogger(__name__)

# Between two looks (in a terminal, and elsewhere), two lines of the log elsewhere, and two notes for `status`.
LIVE_LOOK_SECONDS, LOOK_SECONDS = 1.0, 5.0
LINE_SECONDS, NOTE_SECONDS = 30.0, 10.0


@contextmanager
def progress_of(tables: Tables, step: str, purpose: str) -> Iterator[None]:
    """Inside, show how far the work is, and give Spark's jobs its name; the session may start inside too.

    Args:
        tables: Of the run.
        step: A step, or a command that looks at what steps have left.
        purpose: What it does, for Spark's pages.
    """
    show_log_in_notebooks()
    if (running := current()) is not None:
        running.begins(step, purpose)
    watcher = _Watcher(tables, step)
    with job_group(tables.session, watcher.group, purpose):
        watcher.start()
        try:
            yield
        finally:
            watcher.end()


class _Watcher(threading.Thread):
    def __init__(self, tables: Tables, step: str) -> None:
        super().__init__(name="progress", daemon=True)
        self.group = f"spark-imgdedup {step}"
        self._tables, self._running, self._ended = tables, current(), threading.Event()
        self._display, self._tasks = open_display(step), TasksOfGroup(self.group)
        began = time.monotonic()
        self._parts, self._stage = PaceOfParts(step, began), PaceOfTasks(step, began)
        self._said = self._noted = began

    def run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS if self._display is None else LIVE_LOOK_SECONDS):
            try:
                pace = self._look()
                if pace is not None:
                    self._show(pace)
            except Exception:  # the session may be stopping; a line of progress is not worth a failed run
                log.debug("no progress to be had", exc_info=True)

    def end(self) -> None:
        """Show nothing more."""
        self._ended.set()
        self.join()
        self._tasks.close()
        if self._display is not None:
            self._display.close()

    def _look(self) -> Pace | None:
        parts = parts_below(self._tables.path(""))
        if parts is not None:
            return self._parts.at(time.monotonic(), parts.look())
        tasks = self._tasks.look(self._tables.session)
        return None if tasks is None else self._stage.at(time.monotonic(), tasks)

    def _show(self, pace: Pace) -> None:
        now = time.monotonic()
        if self._display is not None:
            self._display.show(pace)
        elif now - self._said >= LINE_SECONDS:
            self._said = now
            log.info(pace.line())
        if self._running is not None and now - self._noted >= NOTE_SECONDS:
            self._noted = now
            self._running.note(pace)
