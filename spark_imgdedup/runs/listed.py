"""The files that a run depends on, listed once for all that is asked of them between two pieces of work.

Whether a step is current is asked of each step by all that follow it: a run with nothing to do asked for the files of
its input 161 times. Work takes its time, and the input may change meanwhile, so after it they are listed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from spark_imgdedup.config import Config
from spark_imgdedup.config.steps import Source

Stamp = tuple[str, int, str]  # of a file: where, bytes, when or which

# By source the settings that it was listed for, and what was found; None where no run has begun.
_KNOWN: ContextVar[dict[Source, tuple[Config, tuple[Stamp, ...]]] | None] = ContextVar("listed", default=None)


@contextmanager
def listed_once() -> Iterator[None]:
    """List the files of a source once, until the end or `list_anew`; also a decorator."""
    before = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(before)


def list_anew() -> None:
    """Forget what was listed: work was done meanwhile."""
    known = _KNOWN.get()
    if known is not None:
        known.clear()


def listed(source: Source, config: Config, stamps: Callable[[Config], Iterable[Stamp]]) -> tuple[Stamp, ...]:
    """What `stamps` says of the files of `source`, or has said of them for these settings.

    Raises:
        ConfigError: as `stamps` does; it is asked again then.
    """
    known = _KNOWN.get()
    if known is not None and source in known and _read_alike(known[source][0], config):
        return known[source][1]
    found = tuple(stamps(config))
    if known is not None:
        known[source] = config, found
    return found


def _read_alike(one: Config, other: Config) -> bool:
    """Whether both settings name the same files: steps have settings of their own, such as an eps for `auto`."""
    sections = ("input", "cluster", "score", "remove", "storage_options", "work_dir")
    if one is other:
        return True
    alike = one.identify.decisions == other.identify.decisions
    return alike and all(getattr(one, name) == getattr(other, name) for name in sections)
