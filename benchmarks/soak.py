"""Whether a long run stays the same size: memory, open files and files on the disk, once a second, by step.

Makes many small pictures in tars below `--scratch` (deleted afterwards), runs the whole flow on them by the command
line with an encoder that costs nothing, and says by how much the memory of the driver, of the JVM and of the workers
grows for 10,000 images, or for 1,000 tasks, while `embed` and `remove` run. A quarter of the pictures are copies, an
eighth JPEGs of others.

    python benchmarks/soak.py --scratch DIR [--images 200000] [--shards 200] [--name soak] [--set KEY=VALUE …]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image
from processes import count_files, look
from steps import ROOT, machine, write_result
from svg import Panel, plot

PLOTS = ROOT / "docs" / "images"
STEPS = ("embed", "detect", "cluster", "pairwise", "identify", "remove")
GROWING = ("driver", "jvm", "workers", "largest_worker")
MB = 1e6
MOST_POINTS = 200
WARM_UP = 0.25  # of a step: the share at its start in which caches fill and the JVM compiles


def picture_bytes(number):
    """A picture of 48 x 48 pixels: of every eight, two are exact copies of earlier ones and one is another's JPEG."""
    kind = number % 8
    seed = {6: number - 6, 7: max(number - 8007, 0), 5: number - 4}.get(kind, number)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture, buffer = Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC), io.BytesIO()
    if kind == 5:
        picture.save(buffer, "JPEG", quality=90)
        return buffer.getvalue(), "jpg"
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue(), "png"


def make_shard(given):
    """One tar of the pictures first to last, last excluded."""
    path, first, last = given
    with tarfile.open(path, "w") as tar:
        for number in range(first, last):
            data, suffix = picture_bytes(number)
            info = tarfile.TarInfo(f"{number:09}.{suffix}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def make_shards(folder, images, shards):
    """All tars; those of one thousand lie in a folder of their own."""
    edges = np.linspace(0, images, shards + 1).astype(int).tolist()
    work = []
    for number in range(shards):
        path = folder / f"{number // 1000:03}" / f"{number:06}.tar"
        path.parent.mkdir(parents=True, exist_ok=True)
        work.append((path, edges[number], edges[number + 1]))
    with Pool(os.cpu_count()) as pool:
        pool.map(make_shard, work, chunksize=1 + shards // 100)


class Log(threading.Thread):
    """Reads the lines of a run: how many there are, and when each step was first and last told of."""

    def __init__(self, stream, start):
        super().__init__(daemon=True)
        self._stream, self._start = stream, start
        self.n_lines, self.n_bytes = 0, 0
        self.begun: dict[str, float] = {}
        self.last: list[str] = []

    def run(self):
        """Until the run has ended."""
        for line in self._stream:
            self.n_lines += 1
            self.n_bytes += len(line)
            self.last = [*self.last[-40:], line]
            found = re.search(rf"\b({'|'.join(STEPS)}): ", line)
            if found:
                self.begun.setdefault(found[1], time.monotonic() - self._start)


def run_flow(scratch, settings):
    """Run the flow once: what was seen each second, and the log."""
    words = [sys.executable, "-m", "spark_imgdedup", "run", *(word for each in settings for word in ("--set", each))]
    here = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": here, "PYSPARK_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    child = subprocess.Popen(
        words, cwd=scratch, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    log = Log(child.stderr, start)
    log.start()
    seen = []
    while child.poll() is None:
        now = {"second": time.monotonic() - start, **look(child.pid)}
        now["work_files"], now["work_bytes"] = count_files(scratch / "work")
        now["output_files"], now["output_bytes"] = count_files(scratch / "out")
        seen.append(now)
        time.sleep(1.0)
    log.join()
    if child.returncode:
        sys.exit(f"the run has failed:\n{''.join(log.last)}")
    return seen, log


def bands_of(log, last):
    """(step, start, end) in seconds, in their order."""
    begun = sorted(log.begun.items(), key=lambda item: item[1])
    ends = [start for _, start in begun[1:]] + [last]
    return [(step, start, end) for (step, start), end in zip(begun, ends, strict=True)]


def growth(seen, band, per, units):
    """MB by which each grows for `per` of the step's `units`, by a line through all but its start."""
    _, start, end = band
    from_, found = start + WARM_UP * (end - start), {}
    rows = [now for now in seen if from_ <= now["second"] <= end and now["n_workers"]]
    if len(rows) < 10:
        return None
    seconds = [row["second"] for row in rows]
    for name in GROWING:
        slope = np.polyfit(seconds, [row[name] / MB for row in rows], 1)[0]
        found[name] = round(float(slope) * (end - start) / units * per, 2)
    return found


def summary(seen, log, given, scratch):
    """What the run was, in numbers."""
    bands = bands_of(log, seen[-1]["second"])
    by_step = {step: (step, start, end) for step, start, end in bands}
    report = json.loads((scratch / "work/report/report.json").read_text())["summary"]
    tables = sorted(place for place in (scratch / "work").iterdir() if place.is_dir())
    grown = {step: by_step[step] for step in ("embed", "remove") if step in by_step}
    return {
        "images": given.images,
        "shards": given.shards,
        "read": report["read"],
        "kept": report["kept"],
        "seconds": round(seen[-1]["second"], 1),
        "seconds_by_step": {step: round(end - start, 1) for step, start, end in bands},
        "peak_mb": {name: round(max(now[name] for now in seen) / MB) for name in GROWING},
        "mb_per_10000_images": {step: growth(seen, band, 1e4, given.images) for step, band in grown.items()},
        "mb_per_1000_tasks": {step: growth(seen, band, 1e3, given.shards) for step, band in grown.items()},
        "most_open_files": max(now["open_files"] for now in seen),
        "most_files": {name: max(now[f"{name}_files"] for now in seen) for name in ("work", "output")},
        "files_at_the_end": {name: count_files(scratch / name)[0] for name in ("work", "out")},
        "files_by_table": {place.name: count_files(place)[0] for place in tables},
        "work_mb": round(count_files(scratch / "work")[1] / MB, 1),
        "log_lines": log.n_lines,
        "log_bytes": log.n_bytes,
        "machine": machine(),
    }


def draw(name, found):
    """The plot of a run, from its result."""
    seen = found["by_second"]
    bands, end = [], found["seconds"]
    for step, seconds in reversed(found["seconds_by_step"].items()):
        bands.insert(0, (step, end - seconds, end))
        end -= seconds
    memory = {
        "the JVM": [now["jvm"] / MB for now in seen],
        "workers together": [now["workers"] / MB for now in seen],
        "largest worker": [now["largest_worker"] / MB for now in seen],
        "driver's Python": [now["driver"] / MB for now in seen],
    }
    files = {
        "files in work_dir": [now["work_files"] for now in seen],
        "files in output": [now["output_files"] for now in seen],
        "open files": [now["open_files"] for now in seen],
    }
    title = f"{found['images']:,} images in {found['shards']:,} shards, {found['seconds']:,.0f} s on two cores"
    panels = [Panel("memory, MB", memory), Panel("files", files)]
    (PLOTS / f"{name}.svg").write_text(plot([now["second"] for now in seen], bands, panels, title))


def thinned(seen):
    """At most MOST_POINTS of what was seen, evenly, the last among them."""
    places = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), MOST_POINTS)).round().astype(int))
    return [{name: round(value, 1) for name, value in seen[place].items()} for place in places]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--scratch", type=Path, help="a folder on a disk with room; default: the system's temporary one"
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=200)
    parser.add_argument("--name", default="soak", help="of the file in results/ and of the plot")
    parser.add_argument("--keep", action="store_true", help="leave the shards and the run where they are")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="soak-", dir=given.scratch))
    try:
        make_shards(scratch / "data", given.images, given.shards)
        settings = ["input.path=data", "output.path=out", "work_dir=work", "embed.model=stub_encoder:StubEncoder"]
        settings += ["identify.eps=0.001", "spark.master=local[2]", *given.set]
        seen, log = run_flow(scratch, settings)
        found = summary(seen, log, given, scratch)
        print(json.dumps(found, indent=1))
        result = found | {"by_second": thinned(seen)}
        write_result(given.name, result)
        draw(given.name, result)
    finally:
        if given.keep:
            print(scratch)
        else:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
