"""A pool of real pictures from unpacked packages, at most 512 pixels a side, one of each family.

    python benchmarks/real_pictures.py --roots FOLDER ... --out POOL [--tiles 12]

Reads image files, also those inside zip and pk3 archives. A family is a folder and a file name without its digits:
frames of an animation, sizes of an icon and variants of a texture are one family, of which the first is taken. Maps for
shading (normals, gloss, ...), sheets of moving figures and doxygen's graphs are left out. A photograph of at least
1,024 pixels a side is kept whole, reduced, and in tiles of 512 pixels that do not overlap.

POOL/pictures.csv: number, package, path, family, piece ("tiled" for a photograph that tiles were cut from, "tile", or
empty), width, height, sha256 of the pixels.
POOL/images/<number / 1000>/<number>.jpg: the pictures, on white, JPEG 92.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import io
import os
import random
import re
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

SIDE = 512  # pixels, of the longest side kept
LEAST_SIDE = 96  # pixels
MOST_ASPECT = 3
MOST_PIXELS = 16_000_000  # of a file that cannot be decoded at a reduced size
LEAST_COVER = 0.3  # share of a picture that is not transparent
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tga", ".dds", ".bmp", ".tif", ".tiff")
ARCHIVES = (".zip", ".pk3", ".pak3")
SHADING = re.compile(
    r"(normal|norm|nrm|_nm|_n|_ddn|_local|spec|_s|gloss|bump|height|_h|_ao|rough|metal|mask|alpha|glow|_luma|_pants|_shirt|lightmap|graph|lm_\d+)$"
)
# Ambient occlusion, masks of a player's colour, sheets of a figure's movements and diagrams of classes: a package has
# thousands of them.
SHEETS = re.compile(r"/ao/|/(class|struct)\w+\.png$|_pc(_\d+)?\.png$|/workers/|/critters/|/ships/")
COLUMNS = ("number", "package", "path", "family", "piece", "width", "height", "sha256")
SEED = 11


@dataclass(frozen=True)
class File:
    """An image file: of a folder, or a member of an archive in it."""

    package: str
    path: str  # below the root, `archive!member` inside an archive
    root: str

    @property
    def family(self) -> str:
        """Package, folder and name without digits."""
        folder, name = os.path.split(self.path)
        return f"{self.package}/{folder}/{re.sub(r'[^a-z]+', '', Path(name).stem.lower())}"

    def read(self) -> bytes:
        """The bytes of the file."""
        outer, _, member = self.path.partition("!")
        if not member:
            return Path(self.root, outer).read_bytes()
        return _archive(str(Path(self.root, outer))).read(member)


@functools.cache
def _archive(path: str) -> zipfile.ZipFile:
    """Open for the life of the process: the directory of one has 20,000 members."""
    return zipfile.ZipFile(path)


def files(root: Path) -> Iterator[File]:
    """The image files below a folder, archives included, in order of their path."""
    for path in sorted(root.rglob("*")):
        relative = str(path.relative_to(root))
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix.lower() in PICTURES:
            yield File(root.name, relative, str(root))
        elif path.suffix.lower() in ARCHIVES and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in sorted(archive.namelist()):
                    if member.lower().endswith(PICTURES):
                        yield File(root.name, f"{relative}!{member}", str(root))


def families(roots: list[Path]) -> list[File]:
    """One file of each family, in random order."""
    rng, chosen = random.Random(SEED), {}
    for root in roots:
        found = [file for file in files(root) if not SHADING.search(Path(file.path).stem.lower())]
        rng.shuffle(found)
        for file in found:
            chosen.setdefault(file.family, file)
    order = list(chosen.values())
    rng.shuffle(order)
    return [file for file in order if not SHEETS.search(file.path)]


def opened(data: bytes) -> Image.Image | None:
    """The picture in RGB, cut to what is not transparent and laid on white; None if it is not one we want."""
    image = Image.open(io.BytesIO(data))
    vast = image.format != "JPEG" and image.width * image.height > MOST_PIXELS
    if min(image.size) < LEAST_SIDE or vast:
        return None
    if image.format == "JPEG":
        image.draft("RGB", (6 * SIDE, 6 * SIDE))
    image.load()
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        box = alpha.getbbox()
        if box is None or sum(alpha.histogram()[128:]) < LEAST_COVER * image.width * image.height:
            return None
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).crop(box)
    image = image.convert("RGB")
    if min(image.size) < LEAST_SIDE or max(image.size) > MOST_ASPECT * min(image.size):
        return None
    return image


def pieces(image: Image.Image, n_tiles: int) -> Iterator[tuple[str, Image.Image]]:
    """The picture reduced, and tiles of it where it is large, each with what it is."""
    tiles = []
    if n_tiles and min(image.size) >= 2 * SIDE:
        lefts, tops = range(0, image.width - SIDE + 1, SIDE), range(0, image.height - SIDE + 1, SIDE)
        corners = [(left, top) for top in tops for left in lefts]
        for left, top in random.Random(SEED).sample(corners, min(n_tiles, len(corners))):
            tiles.append(image.crop((left, top, left + SIDE, top + SIDE)))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    yield "tiled" if tiles else "", image
    for tile in tiles:
        yield "tile", tile


def reduced(task: tuple[File, int]) -> list[tuple[bytes, str, int, int, str]]:
    """For each piece of a file its JPEG, what it is, its width and height, and the digest of its pixels."""
    file, n_tiles = task
    photo = file.path.lower().endswith((".jpg", ".jpeg"))
    try:
        image = opened(file.read())
        found = []
        for kind, piece in pieces(image, n_tiles if photo else 0) if image else ():
            out = io.BytesIO()
            piece.save(out, "JPEG", quality=92)
            found.append((out.getvalue(), kind, *piece.size, hashlib.sha256(piece.tobytes()).hexdigest()))
    except Exception:  # other programs' files: damaged ones and odd formats raise anything
        return []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=12, help="most tiles of one photograph")
    given = parser.parse_args()
    chosen = families(given.roots)
    print(f"{len(chosen)} families", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    with (given.out / "pictures.csv").open("w", newline="") as table, ProcessPoolExecutor(2) as workers:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        done = workers.map(reduced, ((file, given.tiles) for file in chosen), chunksize=16)
        for file, found in zip(chosen, done, strict=True):
            for data, kind, width, height, digest in found:
                if digest in seen:
                    continue
                folder = given.out / "images" / f"{len(seen) // 1000:03d}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{len(seen):06d}.jpg").write_bytes(data)
                writer.writerow((len(seen), file.package, file.path, file.family, kind, width, height, digest))
                seen.add(digest)
    print(f"{len(seen)} pictures", flush=True)


if __name__ == "__main__":
    main()
