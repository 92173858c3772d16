"""A dataset that is small enough for a hundred runs, and has something to do for every step."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.encoders import ColourEncoder
from tests.faults.plans import STEPS
from tests.tars import jpeg, make_tar

N_TARS, N_PICTURES = 6, 12
SLOW_SECONDS = 6.0


def write_tars(folder: Path) -> Path:
    """Tars of pictures with captions; every fourth picture repeats one that came before."""
    for tar in range(N_TARS):
        members = []
        for place in range(N_PICTURES):
            number = tar * N_PICTURES + place
            seed = number if number % 4 else number // 8
            members += [(f"{place:04}.jpg", jpeg(seed, (32, 24))), (f"{place:04}.txt", f"picture {number}".encode())]
        make_tar(folder / f"{tar % 2}/{tar:03}.tar", members)
    return folder


def settings(tars: str, place: str) -> dict[str, Any]:
    """Every step that a fault may hit, near duplicates and exact copies; `place` gets work/ and out/."""
    return {
        "steps": [*STEPS],
        "input": {"path": tars},
        "work_dir": f"{place}/work",
        "output": {"path": f"{place}/out"},
        "embed": {"model": "tests.encoders:ColourEncoder", "batch_size": 8},
        "detect": {"prepass": ["exact"]},
        "cluster": {"n_clusters": 3},
        "identify": {"eps": 0.05},
    }


class OnceSlowEncoder(ColourEncoder):
    """A model that takes long for the first batch there is, in whichever task that comes; others do not wait."""

    def __init__(self, settings):
        self._mark = Path(settings.model_dir) / "slow"
        super().__init__(settings)

    def encode(self, batch):
        try:
            os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            time.sleep(SLOW_SECONDS)
        return super().encode(batch)
