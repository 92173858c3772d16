"""Which faults are injected: as many as asked for, of every kind, at every step, decided by a seed.

FAULTS_SEED and FAULTS_N choose others than CI's: see `make faults` and `make faults-100`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

SEED = int(os.environ.get("FAULTS_SEED") or 0)
# Faults of whole runs; none: those of CI.
N_RUNS = int(os.environ.get("FAULTS_N") or 0)
N_LOCAL, N_CLUSTER, N_STORE = (N_RUNS * 6 // 10, N_RUNS * 2 // 10, N_RUNS * 2 // 10) if N_RUNS else (4, 8, 1)
N_PROTOCOLS = max(60, N_RUNS)
N_STORE_PROTOCOLS = max(8, N_RUNS // 4)

STEPS = ("embed", "detect", "cluster", "pairwise", "identify", "remove")
# Those of which each has tasks in Python.
WITH_PYTHON = ("embed", "cluster", "pairwise", "remove")
# Not a step: the first tar has its final name.
PUBLISH = "publish"


@dataclass(frozen=True)
class Fault:
    """What happens to a run, and when.

    Attributes:
        kind: What is killed, full or refused.
        step: During which step; "" where it is not told by steps.
        share: Of the seconds that the step takes undisturbed; of a full disk, of the bytes that are needed.
        seed: Of what else is drawn.
    """

    kind: str
    step: str
    share: float
    seed: int = 0

    def __str__(self) -> str:
        return "-".join(word for word in (self.kind, self.step, f"{self.share:.2f}") if word).replace(" ", "-")


# Where a kind of fault can hit.
LOCAL = {
    "driver killed": (*STEPS, PUBLISH),
    "Python worker killed": WITH_PYTHON,
    "JVM killed": (*STEPS, PUBLISH),
    "work_dir full": ("",),
    "Python daemon killed": WITH_PYTHON,
    "output full": ("",),
}
CLUSTER = {
    "executor killed": STEPS,
    "Python worker killed": WITH_PYTHON,
    "speculation": ("embed",),
    "worker of the cluster killed": STEPS,
    "driver killed": (*STEPS, PUBLISH),
    "master killed": STEPS,
    "cluster killed": STEPS,
    "JVM killed": STEPS,
}
STORE = {"S3 answers 500 and 503": ("",), "S3 drops connections": ("",), "S3 is slow": ("",), "S3 goes away": STEPS}


def planned(kinds: dict[str, Sequence[str]], n: int, seed: int = SEED) -> list[Fault]:
    """As many faults as asked for: the kinds in turn, and of each kind its steps in an order drawn by the seed."""
    draw = random.Random(seed)
    orders: dict[str, Iterator[str]] = {
        kind: cycle(draw.sample(list(steps), len(steps))) for kind, steps in kinds.items()
    }
    names = cycle(kinds)
    return [
        Fault(kind, next(orders[kind]), round(draw.uniform(0.02, 0.9), 2), draw.randrange(2**31))
        for kind, _ in zip(names, range(n), strict=False)
    ]
