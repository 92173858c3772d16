"""Bands of similarity around the eps of a run: narrow where it cuts, wider away from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Shares of eps that the bands end at; the run's own is 1.
_INSIDE = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_OUTSIDE = (1.1, 1.25, 1.5, 2.0)
# Distances instead, where no eps is set, and where it is 0.
_NO_EPS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
_ABOVE_ZERO = (0.001, 0.005, 0.01, 0.05)


@dataclass(frozen=True)
class ScoreBand:
    """Scores with low <= cosine_sim_score < high, None is no bound; whether eps takes them, None where none is set."""

    low: float | None
    high: float | None
    inside: bool | None

    @property
    def title(self) -> str:
        """The band in words."""
        if self.low is None:
            return f"cosine below {self.high:.6g}"
        return f"cosine {self.low:.6g}" + ("" if self.high is None else f" to {self.high:.6g}")


def score_bands(eps: float | None) -> tuple[ScoreBand, ...]:
    """The bands, from 1 down to all that is farther away.

    Args:
        eps: In [0, 1); None where none is set.
    """
    if eps is None:
        return _bands(_NO_EPS, None)
    outside = _ABOVE_ZERO if eps == 0 else tuple(share * eps for share in _OUTSIDE)
    inside = sorted({round(share * eps, 6) for share in _INSIDE})
    beyond = sorted({round(each, 6) for each in outside} - set(inside))
    return _bands((*inside, *beyond), len(inside))


def _bands(distances: Sequence[float], n_inside: int | None) -> tuple[ScoreBand, ...]:
    lows = [round(1 - each, 6) for each in distances if each < 2]
    bounds = zip([*lows, None], [None, *lows], strict=True)
    inside = [None if n_inside is None else place < n_inside for place in range(len(lows) + 1)]
    return tuple(ScoreBand(low, high, each) for (low, high), each in zip(bounds, inside, strict=True))


@dataclass(frozen=True)
class BitBand:
    """Perceptual hashes that differ in low to high bits."""

    low: int
    high: int

    @property
    def title(self) -> str:
        """The band in words."""
        bits = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"hashes {bits} {'bit' if bits == '1' else 'bits'} apart"


def bit_bands(most: int) -> tuple[BitBand, ...]:
    """0 bits, then bands that double, up to `most`."""
    found, low = [BitBand(0, 0)], 1
    while low <= most:
        found.append(BitBand(low, min(2 * low - 1, most)))
        low *= 2
    return tuple(found)
