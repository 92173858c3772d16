"""Which parts of a table stay, which are written again without what has gone, and what has to be made.

A part is a file with the rows of some sources: tars, or loose images. What is planned follows from the sources that
there are now and the parts that there are already, so that a crash, a changed input and many small runs are one case.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Files of a table: each costs a reader a request or two, and the driver a look at its footer. 5,000 are listed by five
# requests to a store and looked at in half a minute, and hold 280 MB each of a table of a billion images.
MOST_PARTS = 5_000
# A table may have this many parts however small they are: some hundred tasks made them, and all cores were busy.
FEWEST_PARTS = 256
# More than that are merged where their files have less than this on average. So at most 640 MB are copied for it.
LEAST_BYTES = 2**17
# Merged parts have at most so many bytes, since they are sorted in memory. A table has more parts than MOST_PARTS only
# where they hold half of this on average.
MERGED_BYTES = 64 * 2**20
# What tells a source from others, and from itself before it changed. Two of a billion sources have one digest by a
# chance of 1 in 10^11.
_DIGEST_BYTES = 12


class Source(NamedTuple):
    """A file whose rows are in one part."""

    name: str  # of a shard, or the path of a loose image: what its rows hold
    n_bytes: int
    stamp: str

    @property
    def digest(self) -> bytes:
        """Changes when the file does."""
        return hashlib.sha256(json.dumps(self).encode()).digest()[:_DIGEST_BYTES]


def join_digests(digests: Iterable[bytes]) -> str:
    """Digests of sources as text."""
    return base64.b64encode(b"".join(digests)).decode()


def split_digests(text: str) -> tuple[bytes, ...]:
    """What `join_digests` was given."""
    data = base64.b64decode(text)
    return tuple(data[at : at + _DIGEST_BYTES] for at in range(0, len(data), _DIGEST_BYTES))


class Usual(NamedTuple):
    """What a part that is made should hold, in the unit of the sizes: less than `most` where few parts would be all."""

    least: float
    most: float


class Part(NamedTuple):
    """A part that is there."""

    name: str
    n_bytes: int
    sources: tuple[bytes, ...]  # digests


class Piece(NamedTuple):
    """Rows that are taken from a part."""

    part: Part
    places: tuple[int, ...]  # of the sources, among those that there are now
    whole: bool  # no row is left out

    @property
    def n_bytes(self) -> float:
        """What its rows take in a file, about."""
        return self.part.n_bytes * len(self.places) / max(1, len(self.part.sources))


@dataclass(frozen=True)
class Plan:
    """What becomes of a table.

    Attributes:
        kept: The parts that stay as they are.
        rewritten: Of which pieces each of some new parts is written.
        made: The sources, by their places, of each part that is made from them.
    """

    kept: tuple[Part, ...]
    rewritten: tuple[tuple[Piece, ...], ...]
    made: tuple[tuple[int, ...], ...]

    @property
    def n_parts(self) -> int:
        """Parts of the table when it is done."""
        return len(self.kept) + len(self.rewritten) + len(self.made)

    @property
    def needed(self) -> set[str]:
        """The files that stay, or that others are written from."""
        return {part.name for part in self.kept} | {piece.part.name for part in self.rewritten for piece in part}


def plan_parts(sources: Sequence[Source], there: Iterable[Part], sizes: Sequence[float], usual: Usual) -> Plan:
    """What is to be done so that the rows of each source are in one part, and nothing else is.

    Args:
        sources: What the table is of, sorted by name; none twice.
        there: The parts that are there, made by the same settings.
        sizes: Of each source: its bytes, or 1.
        usual: What a part that is made should hold.
    """
    place_of = {source.digest: place for place, source in enumerate(sources)}
    missing = bytearray(b"\1" * len(sources))
    pieces = []
    # What a crash has left of a part and of what was to take its place holds a source twice: the one without sources
    # that have gone counts, and the larger.
    found = ((part, tuple(place_of[each] for each in part.sources if each in place_of)) for part in there)
    for part, known in sorted(found, key=lambda one: (len(one[1]) < len(one[0].sources), -len(one[1]), one[0].name)):
        places = tuple(sorted(place for place in set(known) if missing[place]))
        for place in places:
            missing[place] = 0
        # A part of no rows at all has sources too: an empty tar is one.
        if places:
            pieces.append(Piece(part, places, whole=len(places) == len(part.sources)))
    made = _in_groups([place for place, is_missing in enumerate(missing) if is_missing], sizes, usual)
    after = [*_merged(sorted(pieces, key=lambda piece: piece.places))]
    return Plan(
        kept=tuple(part[0].part for part in after if _stays(part)),
        rewritten=tuple(part for part in after if not _stays(part)),
        made=made,
    )


def _stays(pieces: Sequence[Piece]) -> bool:
    return len(pieces) == 1 and pieces[0].whole


def _in_groups(places: Sequence[int], sizes: Sequence[float], usual: Usual) -> tuple[tuple[int, ...], ...]:
    """Neighbours together, as many as a part should hold; one that is larger is by itself."""
    total = sum(sizes[place] for place in places)
    # Two neighbours hold more than a part may, so that there are no more than MOST_PARTS.
    most = max(usual.least, min(usual.most, total / FEWEST_PARTS), 2 * total / MOST_PARTS)
    groups: list[list[int]] = []
    held = 0.0
    for place in places:
        if not groups or held + sizes[place] > most:
            groups.append([])
            held = 0.0
        groups[-1].append(place)
        held += sizes[place]
    return tuple(map(tuple, groups))


def _merged(pieces: Sequence[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Each piece by itself; where that would be too many parts, small neighbours together, to half as many as may be.

    To half of them, so that it is long until the next time: a row is copied few times, however many runs there are.
    """
    total = sum(piece.n_bytes for piece in pieces)
    allowed = max(FEWEST_PARTS, min(MOST_PARTS, int(total / LEAST_BYTES)))
    if len(pieces) <= allowed:
        yield from ((piece,) for piece in pieces)
        return
    most = min(4 * total / allowed, MERGED_BYTES)
    held: list[Piece] = []
    n_bytes = 0.0
    for piece in pieces:
        if held and n_bytes + piece.n_bytes > most:
            yield tuple(held)
            held, n_bytes = [], 0.0
        held.append(piece)
        n_bytes += piece.n_bytes
    if held:
        yield tuple(held)
