"""What became of a disturbed run: it went on, or says in a line what is wrong and succeeds when it is run again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.ledger import Entry, Ledger
from tests.faults.results import Result, differences, result_of
from tests.faults.runs import Run


@dataclass(frozen=True)
class Undisturbed:
    """The run that nothing happens to, and what it leaves."""

    run: Run
    result: Result


def judge(
    entry: tuple[Ledger, str, str],
    first: Run,
    again: Callable[[], Run],
    normal: Undisturbed,
    *,
    left: Sequence[str] | None = None,
    read: Callable[[], Result] | None = None,
    says_why: bool = True,
) -> None:
    """Wait for a disturbed run, run it again if it failed, compare, and write down what became of it.

    Args:
        entry: Where to write it down, and its group and kind.
        first: The run that was disturbed.
        again: Starts the same once more.
        normal: What is wanted.
        left: What `first.wait` said, where that was called.
        read: Gives what is there then; by default what lies in the run's place.
        says_why: Whether the first run, where it failed, must say so in a line.

    Raises:
        AssertionError: something is lost, left over or not told.
    """
    problems = list(first.wait() if left is None else left)
    took, needs_rerun = first.seconds, first.code != 0
    if needs_rerun:
        if says_why and (said := first.problem()):
            problems.append(f"the first run: {said}")
        second = again()
        problems += second.wait()
        took += second.seconds
        if second.code != 0:
            problems.append(f"the second run: exit code {second.code}, said {second.said[-2000:]}")
    more, n_bytes = differences(read() if read else result_of(first.place), normal.result)
    problems += more
    ledger, group, kind = entry
    repeated = max(took - normal.run.seconds, 0.0)
    ledger.add(Entry(group, kind, needs_rerun, tuple(problems), n_bytes, repeated))
    assert not problems, "\n".join(problems)
