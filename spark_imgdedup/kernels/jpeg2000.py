"""What the headers of a JPEG 2000 say of its decoder's memory: how many blocks and tiles it is cut into.

A file of 11 KB may ask for a hundred bytes a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

MOST_HEADERS = 300_000  # 65,535 tiles, some for each
_SIZE, _CODING, _OF_COMPONENT, _TILE_PART = 0x51, 0x52, 0x53, 0x90
_DATA, _END = 0x93, 0xD9


def count_blocks(data: bytes, size: tuple[int, int]) -> tuple[int, int]:
    """Code-blocks or precincts, the more of the two in each resolution, and tiles; at the least what is usual.

    Args:
        data: The whole file.
        size: Width and height.

    Raises:
        OverflowError: it has more headers than a file may have.

    Source: ITU-T T.800, A.5.1 (SIZ), A.6.1 (COD), A.6.2 (COC).
    """
    share, n_tiles = 0.0, 1
    for marker, body in _headers(data):
        if marker == _SIZE and len(body) >= 34:
            width, height, _, _, across, down, left, top = (
                int.from_bytes(body[place : place + 4]) for place in range(2, 34, 4)
            )
            n_tiles = max(1, -(-(width - left) // max(1, across)) * -(-(height - top) // max(1, down)))
        elif marker == _CODING:
            share = max(share, _blocks_a_pixel(body[5:]))
        elif marker == _OF_COMPONENT:
            share = max(share, _blocks_a_pixel(body[2:]))
    return int(size[0] * size[1] * share), n_tiles


def _blocks_a_pixel(coding: bytes) -> float:
    """Of levels, the exponents of a code-block, style, filter, and the exponents of the precincts, coarsest first."""
    if len(coding) < 5:
        return 0.0
    n_levels = min(coding[0], 32)
    block = min(coding[1], 10) + min(coding[2], 10) + 4
    found = 0.0
    for level in range(n_levels + 1):
        exponents = coding[5 + level : 6 + level]
        precinct = (exponents[0] & 15) + (exponents[0] >> 4) if exponents else 30
        found += 4.0 ** (level - n_levels) / 2 ** min(block, precinct)
    return found


def _headers(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The marker segments of the main header and of those of tiles, with what follows their lengths."""
    start = data.find(b"\xff\x4f\xff\x51")
    place, end_of_part = start + 2, 0
    if start < 0:
        return
    for _ in range(MOST_HEADERS):
        if place + 2 > len(data) or data[place + 1] == _END:
            return
        marker = data[place + 1]
        if marker == _DATA:
            if end_of_part <= place:
                return
            place = end_of_part
            continue
        length = max(2, int.from_bytes(data[place + 2 : place + 4]))
        body = data[place + 4 : place + 2 + length]
        if marker == _TILE_PART:
            end_of_part = place + (int.from_bytes(body[2:6]) or len(data))
        yield marker, body
        place += 2 + length
    raise OverflowError(f"more than {MOST_HEADERS:,} headers")
