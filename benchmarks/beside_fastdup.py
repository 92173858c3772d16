"""From many pictures to named duplicates, beside fastdup on the same files: where fixed costs do not lead any more.

    named        the command line with the rule and searches of the default, until `identify` has named the duplicates
    whole run    the same process to its end: tars written, report and page made
    … int8       with embed.model efficientnet-lite0-int8
    fastdup      its whole run on the same files, loose, in a process and an environment of its own

In turns, round after round; medians. Seconds begin with the process. Pictures are parts of those of POOL, which
real_pictures.py makes, turned and with their colours exchanged at random, as JPEG of quality 90.

    python benchmarks/beside_fastdup.py --pool POOL --fastdup PYTHON [--images 24000] [--rounds 3] [--float32]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from embed import fastdup
from PIL import Image
from steps import machine, write_result

from spark_imgdedup.preprocess import LITE0, LITE0_INT8

N_TARS = 24
SIDE = 640


def make_tar(number: int, folder: Path, pool: list[Path], n_images: int) -> None:
    """A tar, and the same files loose."""
    rng, loose = random.Random(number), folder / f"loose/{number}"
    loose.mkdir(parents=True)
    with tarfile.open(folder / f"tars/{number:05d}.tar", "w") as tar:
        for sample in range(n_images):
            with Image.open(rng.choice(pool)) as picture:
                width, height = picture.size
                share = rng.uniform(0.4, 0.8)
                left, top = rng.uniform(0, width * (1 - share)), rng.uniform(0, height * (1 - share))
                box = (left, top, left + width * share, top + height * share)
                scale = SIDE / max(width, height)
                shape = (max(1, round(width * scale)), max(1, round(height * scale)))
                part = picture.convert("RGB").resize(shape, Image.Resampling.BICUBIC, box=box)
            part = part.rotate(90 * rng.randrange(4), expand=True)
            part = Image.merge("RGB", rng.sample(part.split(), 3))
            file = loose / f"{sample:06d}.jpg"
            part.save(file, quality=90)
            tar.add(file, file.name)


def our_run(folder: Path, work: Path, model: str) -> dict[str, float]:
    """Seconds until the duplicates are named, and until the end."""
    command = [sys.executable, "-m", "spark_imgdedup", "run", str(folder / "tars")]
    command += ["--set", f"work_dir={work / 'work'}", "--set", f"output.path={work / 'out'}"]
    command += ["--set", f"embed.model={model}"]
    start, named = time.perf_counter(), None
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " identify: " in line and " duplicates by " in line:
                named = time.perf_counter() - start
                print(line.strip(), flush=True)
    if process.returncode or named is None:
        raise SystemExit(f"the run ended with {process.returncode}")
    return {"named": named, "whole run": time.perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--fastdup", required=True, help="a Python that has it")
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--float32", action="store_true", help="the default encoder too")
    arguments = parser.parse_args()
    pool = sorted((arguments.pool / "images").rglob("*.jpg"))
    models = {", int8": LITE0_INT8} | ({"": LITE0} if arguments.float32 else {})
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tars").mkdir()
        with ProcessPoolExecutor() as processes:
            make = partial(make_tar, folder=folder, pool=pool, n_images=arguments.images // N_TARS)
            list(processes.map(make, range(N_TARS)))
        n_images = arguments.images // N_TARS * N_TARS
        n_bytes = sum(file.stat().st_size for file in (folder / "tars").iterdir())
        for _ in range(arguments.rounds):
            found = {}
            for suffix, model in models.items():
                with tempfile.TemporaryDirectory() as work:
                    seconds = our_run(folder, Path(work), model)
                found |= {f"{part}{suffix}": n_images / each for part, each in seconds.items()}
            with tempfile.TemporaryDirectory() as work:
                found["fastdup"] = fastdup(arguments.fastdup, folder, Path(work), n_images)
            for way, rate in found.items():
                rates.setdefault(way, []).append(round(rate, 1))
            print({way: each[-1] for way, each in rates.items()}, flush=True)
    medians = {way: statistics.median(found) for way, found in rates.items()}
    result = {
        "images_per_second": medians,
        "all_rounds": rates,
        "to_fastdup": {way: round(rate / medians["fastdup"], 3) for way, rate in medians.items()},
        "images": n_images,
        "originals": len(pool),
        "kB_each": round(n_bytes / n_images / 1000, 1),
        "machine": machine(),
    }
    print(json.dumps(result, indent=1))
    write_result("beside_fastdup", result)


if __name__ == "__main__":
    main()
