"""What speaks for two images being one: every check that a run makes of a pair, with its numbers. No Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spark_imgdedup.config import Config
from spark_imgdedup.kernels.content import near_equal
from spark_imgdedup.kernels.cosines import rounded_pair_cosines
from spark_imgdedup.kernels.hashes import VIEWS, hamming_distances
from spark_imgdedup.kernels.vectors import UnitRows, invalid_rows
from spark_imgdedup.report.explain.model import Check, Gathered
from spark_imgdedup.stages.grouping.members import reach_at

_SAME_BYTES, _SAME_PIXELS = "bytes (sha256)", "pixels (pixel_sha256)"


@dataclass(frozen=True)
class Measured:
    """How near two images are.

    Attributes:
        checks: Each with what it takes.
        is_near: Whether they count as one image; None where too little is known.
        cosine: To 6 decimals; None without vectors.
        bits: In which their hashes differ, in the orientation that fits best; None without hashes.
    """

    checks: tuple[Check, ...]
    is_near: bool | None
    cosine: float | None = None
    bits: int | None = None


def measure_pair(one: str, other: str, gathered: Gathered, config: Config) -> Measured:
    """Every check of a pair: digests, embeddings, hashes, and pixels of images with little in them."""
    rows = gathered.image(one), gathered.image(other)
    exact = [*_digests(rows, counts="exact" in config.detect.hashes)]
    if config.detect.method == "exact":
        return _by_bytes(exact)
    cosine = _cosine(gathered.vectors.get(one), gathered.vectors.get(other))
    views = dict(_distances(rows, config))
    if config.identify.rule == "semdedup":  # which looks at hashes of images as they are
        views = {name: bits for name, bits in views.items() if name == "as they are"}
    bits = min(views.values(), default=None)
    reach = reach_at(gathered.eps if config.detect.method == "embedding" else None, config)
    checks = [*exact, *_of_cosine(cosine, reach.min_cosine, gathered)]
    if reach.radius is not None:
        checks += _of_hashes(views, reach.radius)
    if reach.agreeing_radius is not None and config.identify.rule != "semdedup":
        checks.append(_of_both(bits, cosine, reach.agreeing_radius, reach.agreeing_cosine))
    decisive = [check for check in checks if check.counts is not None]
    is_near = any(check.counts for check in decisive) if decisive else None
    plain = _of_plain(rows) if config.compares_hashes and config.identify.rule != "semdedup" else None
    if plain is not None:
        checks.append(plain)
        is_near = bool(plain.counts) or any(check.counts for check in exact)
    return Measured(tuple(checks), is_near, cosine, bits)


def _by_bytes(exact: list[Check]) -> Measured:
    known = [check for check in exact if check.counts is not None]
    return Measured(tuple(exact), any(check.counts for check in known) if known else None)


def _digests(rows: tuple[Mapping[str, Any], Mapping[str, Any]], *, counts: bool) -> Iterator[Check]:
    for name, column in ((_SAME_BYTES, "sha256"), (_SAME_PIXELS, "pixel_sha256")):
        values = [row.get(column) for row in rows]
        if None not in values:
            same = values[0] == values[1]
            yield Check(name, "equal" if same else "differ", "equal", same if counts else None, same)


def _cosine(one: NDArray[Any] | None, other: NDArray[Any] | None) -> float | None:
    """To 6 decimals, as `identify` has it."""
    if one is None or other is None or one.shape != other.shape:
        return None
    matrix = np.stack([one, other]).astype(np.float32)
    if any(reason is not None for reason in invalid_rows(matrix)):
        return None
    unit = UnitRows.normalized(matrix)
    return float(rounded_pair_cosines(unit, np.array([0]), unit, np.array([1]))[0])


def _of_cosine(cosine: float | None, least: float | None, gathered: Gathered) -> Iterator[Check]:
    if cosine is None:
        return
    if least is None:
        yield Check("cosine of the embeddings", f"{cosine:.6f}", "no eps is set", None, cosine)
        return
    needed = f"at least {least:.6g} (1 - eps {gathered.eps:g})"
    if gathered.searched_eps is not None:
        needed += f"; searched down to {1 - gathered.searched_eps:.6g}"
    yield Check("cosine of the embeddings", f"{cosine:.6f}", needed, cosine >= least, cosine)


def _distances(rows: tuple[Mapping[str, Any], Mapping[str, Any]], config: Config) -> Iterator[tuple[str, int]]:
    """Bits that the hashes differ in, in each orientation that was hashed."""
    width = config.detect.phash_bits // 8
    own = [row["phash"] for row in rows if row.get("phash") is not None]
    if len(own) < len(rows) or not config.compares_hashes or any(len(each) != width for each in own):
        return
    yield "as they are", _bits(own[0], own[1])
    names = [turn.name.lower().replace("_", " ") for turn in VIEWS[config.detect.phash_views]]
    for place, name in enumerate(names):
        part = slice(place * width, (place + 1) * width)
        turned = [(own[1 - each], (rows[each].get("phash_views") or b"")[part]) for each in (0, 1)]
        found = [_bits(still, view) for still, view in turned if len(view) == width]
        if found:
            yield f"one of them {name}", min(found)


def _bits(one: bytes, other: bytes) -> int:
    a, b = (np.frombuffer(each, np.uint8)[None, :] for each in (one, other))
    return int(hamming_distances(a, b)[0, 0])


def _of_hashes(views: Mapping[str, int], radius: int) -> Iterator[Check]:
    needed = f"at most {radius} bits (detect.phash_radius)"
    for name, bits in views.items():
        yield Check(f"perceptual hashes, {name}", f"{bits} bits apart", needed, bits <= radius, bits)


def _of_both(bits: int | None, cosine: float | None, radius: int, least: float) -> Check:
    needed = f"at most {radius} bits and a cosine of at least {least:g} (detect.agreeing_radius, agreeing_cosine)"
    if bits is None or cosine is None:
        return Check("hashes and embeddings together", "one of them has no hash, or no embedding", needed)
    holds = bits <= radius and cosine >= least
    return Check("hashes and embeddings together", f"{bits} bits, cosine {cosine:.6f}", needed, holds, holds)


def _of_plain(rows: tuple[Mapping[str, Any], Mapping[str, Any]]) -> Check | None:
    """Of images with next to nothing in them, whose hashes and embeddings say nothing."""
    pixels = [row.get("plain_pixels") for row in rows]
    if pixels == [None, None]:
        return None
    needed = "both plain, and nearly equal in every pixel; then hashes and embeddings do not count"
    if None in pixels:
        return Check("images with next to nothing in them", "one of the two is, the other is not", needed, False, False)
    a, b = (np.frombuffer(each, np.uint8)[None, :] for each in pixels if each is not None)
    same = bool(near_equal(a, b)[0, 0])
    found = f"both are, and their pixels are {'' if same else 'not '}nearly equal"
    return Check("images with next to nothing in them", found, needed, same, same)
