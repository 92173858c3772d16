"""Where progress is shown: as a line that changes in a terminal, else as lines of the log; also in notebooks."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

    from spark_imgdedup.runs.pace import Pace

_OURS = logging.getLogger("spark_imgdedup")
_IS_LIVE = False


def go_live() -> None:
    """Show progress as a line that changes; the command line does so where standard error is a terminal."""
    global _IS_LIVE  # a terminal is one for the whole process
    _IS_LIVE = True


def open_display(step: str) -> Display | None:
    """The line of a step; None where there is no terminal."""
    return Display(step) if _IS_LIVE else None


class Display:
    """A bar, what is done, the time it took and what remains. Lines of the log go above it."""

    def __init__(self, step: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[words]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task(step, total=None, words="", left="")
        self._progress.start()

    def show(self, pace: Pace) -> None:
        """Put what is known by now on the line."""
        words, _, left = pace.line().removeprefix(f"{pace.step}: ").partition(", about ")
        known: dict[str, Any] = {} if pace.share is None else {"total": 1.0, "completed": pace.share}
        self._progress.update(self._task, words=words, left=left, **known)

    def close(self) -> None:
        """Take the line away."""
        self._progress.stop()


class StandardError(logging.StreamHandler[TextIO]):
    """Writes to standard error as it is at that time: a display puts itself in its place for a while."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    @property
    def stream(self) -> TextIO:
        """Where it writes."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        del stream


def show_log_in_notebooks() -> None:
    """In Jupyter, send our lines to the cell where nobody has said where they go; once, and never twice a line."""
    if "ipykernel" not in sys.modules or _OURS.hasHandlers():
        return
    handler = StandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    # Whoever sets up logging later gets the lines there, and not here too.
    handler.addFilter(lambda record: not logging.getLogger().handlers)
    _OURS.addHandler(handler)
    if _OURS.level == logging.NOTSET:
        _OURS.setLevel(logging.INFO)
