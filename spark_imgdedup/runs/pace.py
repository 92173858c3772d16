"""How far a piece of work is, how fast it goes, and how long what remains of it takes. No Spark."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from spark_imgdedup.files.parts.counters import Made
from spark_imgdedup.runs.classic import TaskProgress

# Seconds that a rate is taken over: what was slow at first, such as loading a model, is forgotten then.
_WINDOW = 120.0


@dataclass(frozen=True)
class Pace:
    """What is shown of a running step.

    Attributes:
        step: Its name.
        words: How much is done, of how much, and how fast.
        share: Of the work, 0 to 1; None where it is not known.
        seconds_left: As long as what remains takes at this rate; None where it is not known.
        per_second: Images or rows, None where none are counted.
    """

    step: str
    words: str
    share: float | None = None
    seconds_left: float | None = None
    per_second: float | None = None

    def line(self) -> str:
        """Such as "embed: 412 of about 5,000 images, 3 of 40 shards, 55.1 images/s, about 0:01:23 left"."""
        left = "" if self.seconds_left is None else f", about {timedelta(seconds=round(self.seconds_left))} left"
        return f"{self.step}: {self.words}{left}"


class PaceOfParts:
    """Of the parts of a table: by the bytes of the input that remain, and those of parts that are half made count."""

    def __init__(self, step: str, began: float) -> None:
        self._step, self._seen = step, deque([(began, 0, 0)])

    def at(self, now: float, made: Made) -> Pace:
        """The pace `now`, in seconds of the clock that gave `began`."""
        self._seen.append((now, made.images, made.n_bytes))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        then, images, n_bytes = self._seen[0]
        seconds = max(now - then, 1e-9)
        per_second, bytes_per_second = (made.images - images) / seconds, (made.n_bytes - n_bytes) / seconds
        share = made.n_bytes / made.of_bytes if made.of_bytes else None
        left = (made.of_bytes - made.n_bytes) / bytes_per_second if bytes_per_second > 0 else None
        parts = [f"{made.images:,} of {_images(made)} images" if _images(made) else f"{made.images:,} images"]
        parts += [] if made.is_loose else [f"{made.n_files:,} of {made.of_files:,} shards"]
        parts += [f"{made.failed:,} unreadable"] if made.failed else []
        parts += [f"{per_second:,.1f} images/s"] if made.images else []
        return Pace(self._step, ", ".join(parts), share, left, per_second if made.images else None)


def _images(made: Made) -> str:
    """How many there are: known of loose images; of tars guessed by the bytes of those that are done."""
    if made.is_loose:
        return f"{made.of_files:,}"
    if not made.images or not made.n_bytes:
        return ""
    is_all = made.n_files == made.of_files
    return f"{made.images:,}" if is_all else f"about {_rounded(made.images * made.of_bytes / made.n_bytes):,}"


def _rounded(number: float) -> int:
    """Two digits that count: a guess is no better."""
    return int(float(f"{number:.1e}"))


class PaceOfTasks:
    """Of Spark's tasks: between the end of one task and that of the next, what remains shrinks with the clock."""

    def __init__(self, step: str, began: float) -> None:
        self._step, self._stage, self._start = step, -1, began
        self._looked, self._changed, self._n_done = began, began, 0

    def at(self, now: float, tasks: TaskProgress) -> Pace:
        """The pace `now`, in seconds of the clock that gave `began`."""
        if tasks.stage_id != self._stage:  # rows and rates are those of one stage; it began after the last look
            self._stage, self._start, self._n_done = tasks.stage_id, self._looked, 0
        if tasks.n_done != self._n_done:
            self._n_done, self._changed = tasks.n_done, now
        self._looked = now
        words, per_second, left = f"{tasks.n_done:,} of {tasks.n_tasks:,} tasks", None, None
        if tasks.n_records:
            per_second = tasks.n_records / max(now - self._start, 1e-9)
            unit = "images" if self._step == "embed" else "rows"
            words += f", {tasks.n_records:,} {unit}, {per_second:,.1f} {unit}/s"
        if tasks.n_done:
            until_then = (self._changed - self._start) * (tasks.n_tasks - tasks.n_done) / tasks.n_done
            left = max(until_then - (now - self._changed), 0.0)
        return Pace(self._step, words, tasks.n_done / max(tasks.n_tasks, 1), left, per_second)
