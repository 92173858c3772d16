"""The checks of a configuration as Python and notebooks take them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from spark_imgdedup.checkup.check import Check

# Characters of a line.
_WIDTH = 160


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """What was looked for, and what was found.

    Attributes:
        checks: In the order of a run.
        write: Writes them to a console.
    """

    checks: tuple[Check, ...]
    write: Callable[[Sequence[Check], Console], None]

    @property
    def is_healthy(self) -> bool:
        """True where everything that the configuration needs is there."""
        return all(check.is_ok or not check.is_needed for check in self.checks)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what is needed and not there."""
        return tuple(check.name for check in self.checks if check.is_needed and not check.is_ok)

    def __repr__(self) -> str:
        said = io.StringIO()
        self.write(self.checks, Console(file=said, width=_WIDTH))
        return "\n".join(line.rstrip() for line in said.getvalue().splitlines())
