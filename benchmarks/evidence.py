"""What speaks for two pictures being one: hashes in both mirror orientations, and the embedded encoder's vectors.

    python benchmarks/evidence.py --pool POOL [--limit N]     writes POOL/evidence.npz

The trim and the content measure here are crude stand-ins, so that settings could be chosen apart from the package.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.fft import dctn

from spark_imgdedup.kernels.vectors import l2_normalize
from spark_imgdedup.models import EncoderSettings, load_encoder

BATCH = 32
CHUNK = 400  # pictures of one task
BORDER_TOLERANCE = 20  # of 255, how far a border's pixels may lie from their median
BORDER_SHARE = 0.98  # of a row's pixels that must be so near
LEAST_LEFT = 0.25  # of a side
LEAST_DETAIL_LEFT = 15  # of 100
MOST_SHRINK = 3  # borders inside borders
CLEAR = 100  # distance of a coefficient from the median of its 64; noise of JPEG stays below
EDGE = 12  # of 255, the least range of greys in a cell that has an edge
Arrays = dict[str, NDArray[Any]]
BITS = {  # which arrays hold a hash and that of the mirror image
    "64": ("hash64", "hash64_mirror"),
    "256": ("hash256", "hash256_mirror"),
    "whole": ("whole64", "whole64_mirror"),
}


def trim(image: Image.Image) -> Image.Image:
    """The picture without borders of one colour; whole where less than a quarter of a side or little detail would stay.

    A flag of stripes would lose all but one of them.
    """
    pixels = np.asarray(image)
    for _ in range(MOST_SHRINK):
        top, bottom = _border(pixels), _border(pixels[::-1])
        left, right = _border(pixels.swapaxes(0, 1)), _border(pixels.swapaxes(0, 1)[::-1])
        inner = pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]
        if inner.shape == pixels.shape or min(inner.shape[:2]) < 8:
            break
        pixels = inner
    height, width = pixels.shape[:2]
    if (width, height) == image.size or height < LEAST_LEFT * image.height or width < LEAST_LEFT * image.width:
        return image
    cut = Image.fromarray(np.ascontiguousarray(pixels))
    return cut if detail(cut) >= LEAST_DETAIL_LEFT else image


def _border(rows: NDArray[np.uint8]) -> int:
    """How many rows from the first on have the colour of the first."""
    colour = np.median(rows[0].reshape(-1, 3), axis=0).astype(np.int16)
    for place, row in enumerate(rows):
        if (np.abs(row - colour).max(axis=1) <= BORDER_TOLERANCE).mean() < BORDER_SHARE:
            return place
    return len(rows)


def phashes(image: Image.Image, side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """imagehash.phash of side * side bits, as it is and of the mirror image."""
    grey = _grey(image, side)
    return _phash(grey, side), _phash(grey[:, ::-1], side)


def clear_bits(image: Image.Image) -> int:
    """How many of the 64 bits of a hash are not a matter of noise: stripes and grids have 8, pictures nearly all."""
    low = dctn(_grey(image, 8))[:8, :8]
    return int((np.abs(low - np.median(low)) > CLEAR).sum())


def _grey(image: Image.Image, side: int) -> NDArray[np.float64]:
    return np.asarray(image.convert("L").resize((4 * side, 4 * side), Image.Resampling.LANCZOS), np.float64)


def _phash(grey: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    low = dctn(grey)[:side, :side]
    return np.packbits(low > np.median(low))


def detail(image: Image.Image) -> float:
    """How much of a picture has something in it, 0 to 100: the share of cells of a 16 x 16 grid with an edge."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), np.int16).reshape(16, 4, 16, 4)
    ranges = grey.max(axis=(1, 3)) - grey.min(axis=(1, 3))
    return 100 * float((ranges >= EDGE).mean())


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """A 16 x 16 RGB reduction of the whole picture, flat."""
    return np.asarray(image.resize((16, 16), Image.Resampling.BOX)).reshape(-1)


def fine_pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """A 48 x 48 grey reduction of the whole picture, flat: enough to tell pages by one line of text."""
    return np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BOX)).reshape(-1)


def vectors(pictures: Iterable[Image.Image]) -> NDArray[np.float16]:
    """(N, 1280) rows of unit length."""
    encoder, parts = load_encoder(EncoderSettings("efficientnet-lite0")), []
    for batch in batched(pictures, BATCH):
        parts.append(encoder.encode(np.stack([encoder.preprocess(picture) for picture in batch])))
    unit: NDArray[np.float32] = l2_normalize(np.concatenate(parts))
    return unit.astype(np.float16)


def evidence(pictures: list[Image.Image], *, mirrored: bool) -> Arrays:
    """All that is measured of some pictures, one row each; vectors of mirror images on request."""
    trimmed = [trim(picture) for picture in pictures]
    both64 = [phashes(picture, 8) for picture in trimmed]
    both256 = [phashes(picture, 16) for picture in trimmed]
    whole = [
        hashes if cut is picture else phashes(picture, 8)
        for cut, picture, hashes in zip(trimmed, pictures, both64, strict=True)
    ]
    found: Arrays = {
        "hash64": np.stack([own for own, _ in both64]),
        "hash64_mirror": np.stack([other for _, other in both64]),
        "hash256": np.stack([own for own, _ in both256]),
        "hash256_mirror": np.stack([other for _, other in both256]),
        "whole64": np.stack([own for own, _ in whole]),
        "whole64_mirror": np.stack([other for _, other in whole]),
        "clear": np.array([clear_bits(picture) for picture in trimmed]),
        "detail": np.array([detail(picture) for picture in trimmed]),
        "pixels": np.stack([pixels_of(picture) for picture in pictures]),
        "fine": np.stack([fine_pixels_of(picture) for picture in pictures]),
        "size": np.array([picture.size for picture in pictures]),
        "content": np.array([cut.size for cut in trimmed]),
        "was_trimmed": np.array([a is not b for a, b in zip(trimmed, pictures, strict=True)]),
        "vector": vectors(trimmed),
    }
    found["vector_whole"] = found["vector"].copy()
    if found["was_trimmed"].any():
        changed = [picture for picture, was in zip(pictures, found["was_trimmed"], strict=True) if was]
        found["vector_whole"][found["was_trimmed"]] = vectors(changed)
    if mirrored:
        found["vector_mirror"] = vectors(ImageOps.mirror(picture) for picture in trimmed)
    return found


def batched(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def joined(parts: list[Arrays]) -> Arrays:
    """Rows of several parts under each other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_files(task: tuple[list[bytes], bool]) -> Arrays:
    files, mirrored = task
    return evidence([Image.open(io.BytesIO(file)).convert("RGB") for file in files], mirrored=mirrored)


def evidence_of(files: Iterable[bytes], *, mirrored: bool) -> Arrays:
    """`evidence` of image files, by two processes."""
    with ProcessPoolExecutor(2) as workers:
        parts = workers.map(_of_files, ((chunk, mirrored) for chunk in batched(files, CHUNK)))
        return joined([_told(part) for part in parts])


def _told(part: Arrays) -> Arrays:
    print(f"{len(part['detail'])} done", flush=True)
    return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--mirrored", action="store_true", help="vectors of the mirror images too")
    parser.add_argument("--limit", type=int)
    given = parser.parse_args()
    paths = sorted((given.pool / "images").glob("*/*.jpg"))[: given.limit]
    np.savez(given.pool / "evidence.npz", **evidence_of((path.read_bytes() for path in paths), mirrored=given.mirrored))
    print(f"{len(paths)} pictures")


if __name__ == "__main__":
    main()
