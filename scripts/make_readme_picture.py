"""Draw docs/images/duplicates.png, pairs that the demo found, a few of each kind of edit, and report.png, its page.

spark-imgdedup demo
python scripts/make_readme_picture.py --work spark-imgdedup-demo/work

Both are what headless Chromium shows; scripts/install_browser.sh brings it.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from spark_imgdedup.config import InputConfig
from spark_imgdedup.files import storage
from spark_imgdedup.files.tars.shards import iter_samples, list_shards, sample_id
from spark_imgdedup.files.tars.strict_headers import DamagedTarError
from spark_imgdedup.files.tars.tar_stream import TarStream
from spark_imgdedup.kernels.images import decode_image
from spark_imgdedup.report.page.build import build_pairs
from spark_imgdedup.report.page.model import Band, Pair, Picture
from spark_imgdedup.report.page.thumbnails import Thumbnails

ROOT = Path(__file__).resolve().parents[1]
TRANSFORMS = {
    "crop10": "a tenth cropped",
    "text": "text laid over",
    "bright": "brighter",
    "gray": "without its colours",
    "resize50": "half the size",
    "jpeg30": "JPEG quality 30",
    "webp": "encoded as WebP",
    "exact": "the same bytes",
}
# Pairs of each kind, in the order of TRANSFORMS: the edits that show come first, and more often.
PLACES = ("crop10", "text", "gray", "bright")
MAX_PIXELS = 10_000_000


def main() -> None:
    """Read the duplicates, choose pairs, draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "spark-imgdedup-demo" / "work", help="work_dir of the demo")
    parser.add_argument("--shards", type=Path, default=ROOT / "examples" / "shards")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="folder of the pictures")
    arguments = parser.parse_args()
    found = pq.read_table(
        arguments.work / "duplicates", columns=["image_id", "max_id", "kept_id", "cosine_sim_score"]
    ).to_pylist()
    chosen = choose(found, read_truth(arguments.shards / "truth.csv"))
    band = Band("mixed", "Pairs of four kinds", None, len(found), with_images(chosen, arguments.shards), "duplicates")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "index.html"
        page.write_text(build_pairs("the sample shards", "What the demo found.", band), encoding="utf-8")
        shoot(page, arguments.out / "duplicates.png", (1240, 1310))
        report = (arguments.work / "report" / "index.html").read_text(encoding="utf-8")
        for place in (str(arguments.shards.resolve()), str(arguments.work.resolve().parent)):  # of this machine alone
            report = report.replace(place, Path(place).name)
        page.write_text(report, encoding="utf-8")
        shoot(page, arguments.out / "report.png", (1240, 1330))


def shoot(page: Path, to: Path, size: tuple[int, int]) -> None:
    """What a window of that size shows of a page."""
    browser = shutil.which("chromium")
    if browser is None:
        raise SystemExit("there is no chromium: run scripts/install_browser.sh")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000"]
    window = f"--window-size={size[0]},{size[1]}"
    subprocess.run([browser, *flags, window, f"--screenshot={to}", page.resolve().as_uri()], check=True)
    with Image.open(to) as picture:  # a third of the bytes in 256 colours, and no difference to the eye
        picture.convert("RGB").quantize(256, kmeans=2).save(to, optimize=True)
    print(f"{to}: {to.stat().st_size / 1000:.0f} kB")


def read_truth(path: Path) -> dict[str, dict[str, str]]:
    """The rows of truth.csv by image_id."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["image_id"]: row for row in csv.DictReader(file)}


def choose(found: list[dict[str, str]], truth: dict[str, dict[str, str]]) -> list[tuple[dict[str, str], str]]:
    """Pairs of a source and its copy, one of each group, photographs first."""
    by_transform: dict[str, list[tuple[dict[str, str], str]]] = defaultdict(list)
    removed = {row["image_id"] for row in found}
    kept_links = (row for row in found if row["max_id"] not in removed)
    for row in sorted(kept_links, key=lambda row: (truth[row["max_id"]]["group"], row["image_id"])):
        ends = truth[row["image_id"]], truth[row["max_id"]]
        copies = [end["transform"] for end in ends if end["role"] == "copy"]
        if len(copies) == 1:  # one end is the source, so the transform names the whole difference
            by_transform[copies[0]].append((row, ends[0]["group"]))
    chosen: list[tuple[dict[str, str], str]] = []
    groups: set[str] = set()
    for transform in PLACES:
        fresh = next(((row, group) for row, group in by_transform[transform] if group not in groups), None)
        if fresh is not None:
            groups.add(fresh[1])
            chosen.append((fresh[0], TRANSFORMS[transform]))
    return chosen


def with_images(chosen: list[tuple[dict[str, str], str]], shards: Path) -> tuple[Pair, ...]:
    """The pairs with the bytes of their images, as they lie in the tars."""
    wanted = {row[column] for row, _ in chosen for column in ("image_id", "max_id")}
    images: dict[str, bytes] = {}
    for shard in list_shards(InputConfig(path=str(shards))):
        with storage.open_read(shard.url) as stream:
            try:
                for sample in iter_samples(TarStream(stream), lambda member: member.is_image):
                    image_id, _ = sample_id(shard.name, sample)
                    if image_id in wanted:
                        images[image_id] = next(m.data for m in sample.members if m.is_image and m.data is not None)
            except DamagedTarError:
                continue  # one of the sample shards is cut off on purpose
    small = Thumbnails.of(2 * len(chosen), MAX_PIXELS)
    return tuple(
        Pair(
            picture(row["max_id"], "kept", images[row["max_id"]], small),
            picture(row["image_id"], "removed", images[row["image_id"]], small),
            f"cosine {float(row['cosine_sim_score']):.6f}",
            f"{note.capitalize()}.",
        )
        for row, note in chosen
    )


def picture(image_id: str, status: str, data: bytes, small: Thumbnails) -> Picture:
    """An image with its facts."""
    image = decode_image(data, max_pixels=MAX_PIXELS)
    size = f"{image.width:,} \N{MULTIPLICATION SIGN} {image.height:,}"
    facts = {"size": size, "bytes": f"{len(data):,}", "format": image.format}
    return Picture(image_id, status, facts, small(data))


if __name__ == "__main__":
    main()
