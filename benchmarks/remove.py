"""Kept samples copied from tar to tar, against `cp`: bytes of the input by seconds, medians, side by side.

python benchmarks/remove.py [--folder /tmp] [--repeats 3]

As many processes copy as there are cores, each its own tars, as Spark's tasks do, and one alone. `cp` is followed by
fsync: a tar that gets a name is on the disk. The files are in the page cache for both.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from spark_imgdedup.files.copying.copy_plan import CopyTask, Part
from spark_imgdedup.files.copying.kept_members import Source
from spark_imgdedup.files.copying.shard_writer import copy_kept
from spark_imgdedup.files.tars.shards import Shard

N_TARS, N_SAMPLES = 4, 1500
IMAGE_BYTES = (40_000, 160_000)
LEAVES = 3  # every third sample, where samples leave


def make_tar(path, number):
    """A tar of samples with an image, a caption and a sidecar, with times as WebDataset's writer gives them."""
    rng = random.Random(number)
    digests = {}
    with tarfile.open(path, "w") as tar:
        for sample in range(N_SAMPLES):
            image = rng.randbytes(rng.randint(*IMAGE_BYTES))
            digests[f"{sample:06d}"] = hashlib.sha256(image).hexdigest()
            for suffix, data in (("jpg", image), ("txt", b"a caption " * 7), ("json", b'{"width": 640}')):
                info = tarfile.TarInfo(f"{sample:06d}.{suffix}")
                info.size, info.mtime = len(data), 1_700_000_000.5
                tar.addfile(info, io.BytesIO(data))
    return digests


def by_cp(path, folder, _):
    target = f"{folder}/{os.path.basename(path)}"
    subprocess.run(["cp", path, target], check=True)  # noqa: S607
    with open(target, "rb") as file:
        os.fsync(file.fileno())


def by_us(path, folder, gone):
    shard = Shard(path, os.path.basename(path)[:-4], os.path.getsize(path), "")
    list(copy_kept(CopyTask((shard,), (Part(shard.name),)), {shard.name: gone}, folder, read=Source(), write={}))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(pool, way, tars, folder, gone):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    start = time.perf_counter()
    found = [each.result() for each in [pool.submit(way, path, folder, gone(path)) for path in tars]]
    return time.perf_counter() - start, max((each for each in found if each), default=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        digests = {f"{folder}/{n:05d}.tar": make_tar(f"{folder}/{n:05d}.tar", n) for n in range(N_TARS)}
        n_bytes = sum(map(os.path.getsize, digests))
        ways = {
            "cp and fsync": (by_cp, lambda _: {}),
            "nothing leaves": (by_us, lambda _: {}),
            "a third leaves": (by_us, lambda path: dict(list(digests[path].items())[::LEAVES])),
        }
        found = {}
        for n_processes in (1, os.cpu_count()):
            times = {name: [] for name in ways}
            peak = 0.0
            with ProcessPoolExecutor(n_processes) as pool:
                for _ in range(args.repeats + 1):  # the first warms the cache
                    for name, (way, gone) in ways.items():
                        took, mib = seconds(pool, way, list(digests), f"{folder}/out", gone)
                        times[name].append(took)
                        peak = max(peak, mib)
            rates = {name: n_bytes / 1e6 / statistics.median(each[1:]) for name, each in times.items()}
            found[f"{n_processes} at once"] = {
                name: {"MB_per_s": round(rate), "of_cp": round(rate / rates["cp and fsync"], 2)}
                for name, rate in rates.items()
            } | {"peak_MiB": round(peak)}
    result = {"bytes": n_bytes, "tars": N_TARS, "samples": N_TARS * N_SAMPLES, "cores": os.cpu_count(), **found}
    from steps import write_result  # brings NumPy and Arrow, whose memory the copying processes would be charged with

    write_result("remove", result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
