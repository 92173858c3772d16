"""A sound file cut short, or changed at random places."""

from __future__ import annotations

import random
from collections.abc import Iterator


def spoiled(data: bytes, n_mutants: int, most_changes: int) -> Iterator[tuple[str, bytes]]:
    """(what was done, file): cut at each tenth, then `n_mutants` with up to `most_changes` bytes changed."""
    for tenth in range(10):
        yield f"cut-{tenth}", data[: len(data) * tenth // 10]
    for seed in range(n_mutants):
        rng = random.Random(seed)
        forged = bytearray(data)
        for _ in range(rng.randint(1, most_changes)):
            forged[rng.randrange(len(forged))] = rng.randrange(256)
        yield f"mutant-{seed}", bytes(forged)
