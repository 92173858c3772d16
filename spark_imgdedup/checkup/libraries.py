"""What a process has of the libraries that some settings need."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from spark_imgdedup import __version__
from spark_imgdedup.checkup.check import Check
from spark_imgdedup.config import Config
from spark_imgdedup.gpu import device_count
from spark_imgdedup.runs.libraries import LIBRARIES, version_of


def probe() -> dict[str, Any]:
    """Versions of Python, this package and the libraries, and the GPUs that CUDA sees, in the process that asks."""
    return {
        "python": platform.python_version(),
        "package": __version__,
        "gpus": device_count(),
        "modules": {library.module: version_of(library.module) for library in LIBRARIES},
    }


def check_libraries(config: Config, found: Mapping[str, Any], there: str) -> Iterator[Check]:
    """Each library as `probe` found it, `there` saying in which process."""
    for library in LIBRARIES:
        is_ok, words = found["modules"][library.module]
        words = words if is_ok else f"{words} {there}"
        yield Check(library.module, is_ok, words, library.why, library.remedy, library.is_needed(config))
