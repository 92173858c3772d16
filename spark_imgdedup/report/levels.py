"""The eps values that are looked at unless others are named."""

from __future__ import annotations

from collections.abc import Sequence

from spark_imgdedup.errors import ConfigError

EPS_LEVELS = (
    *(0.0, 0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1),
    *(0.12, 0.14, 0.16, 0.18, 0.2, 0.22, 0.24, 0.26, 0.28, 0.3, 0.35, 0.4),
)


def require_eps(levels: Sequence[float]) -> None:
    """Refuse what is no cosine distance.

    Raises:
        ConfigError: there is none, or one is not in [0, 1).
    """
    wrong = [level for level in levels if not _is_eps(level)]
    if wrong or not levels:
        raise ConfigError(f"eps takes numbers in [0, 1) such as 0.05, got {wrong[0] if wrong else 'none'!r}.")


def _is_eps(level: object) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool) and 0 <= level < 1
