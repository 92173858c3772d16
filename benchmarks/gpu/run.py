"""All that a GPU is for, measured on one: from tars of JPEGs to vectors by ViT-L/14, and the kernels of the search.

    python benchmarks/gpu/run.py [--device cuda:0] [--minutes 6] [--out benchmarks/results/gpu.json]
    python benchmarks/gpu/run.py --smoke        # everything tiny on the CPU: whether it runs

Needs Python 3.11 or later, torch >= 2.11 with CUDA, CuPy for the second half, and NumPy, Pillow, pydantic, PyYAML,
fsspec, array-api-compat, threadpoolctl: carry wheels of what the machine lacks. torchvision is for JPEGs that the GPU
decodes and SciPy for perceptual hashes; without them these two are left out. No Spark, no Java, no model hub, no
open_clip: weights are random and pictures are made here. This package need not be installed.

Figures are medians of three. Each part is left out where less time is left than it may take; what failed is in the
result with its error, and the rest goes on. Images per second of a stream are from the tars' bytes to unit vectors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import embedding  # noqa: E402  # found by the line above
import kernels  # noqa: E402
import torch  # noqa: E402

PARTS = ("embedding", "kernels")
# A part is not begun with less time left. The first measures four streams for 12 s each.
MOST_SECONDS = {"embedding": 150, "kernels": 60}


def machine(device):
    """What the figures are of."""
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device != "cpu":
        properties = torch.cuda.get_device_properties(device)
        found |= {"device": properties.name, "memory_gb": round(properties.total_memory / 2**30, 1)}
        found |= {"cuda": torch.version.cuda, "driver": driver()}
    return found


def driver():
    """The version of NVIDIA's driver, as the kernel tells it."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except OSError:
        return None


class Results:
    """Figures, written to the file as they come."""

    def __init__(self, path, about):
        self.path, self.found = path, {"machine": about}

    def part(self, name, work, seconds_left):
        """Run one part; an error ends it and not the others."""
        if seconds_left < MOST_SECONDS[name]:
            self.found[name] = {"left_out": f"{seconds_left:.0f} s were left"}
            return self.write()
        self.found[name] = {}
        try:
            work(lambda figure, value: self.report(name, figure, value))
        except Exception as error:  # whatever a machine that nobody has seen may lack
            traceback.print_exc()
            self.found[name]["error"] = f"{type(error).__name__}: {error}"[:500]
        return self.write()

    def report(self, part, figure, value):
        """Take a figure in, print it, and write all that are there."""
        self.found[part][figure] = rounded(value)
        print(f"{part:10} {figure:34} {json.dumps(self.found[part][figure])}", flush=True)
        self.write()

    def write(self):
        """Write what is there, if there is a file for it."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.found, indent=1) + "\n")


def rounded(value):
    """To five digits, wherever numbers are; cosines near 1 keep six decimals."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        return round(value, 6) if abs(value) <= 1 else float(f"{value:.5g}")
    return value


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that decode")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: benchmarks/results/gpu.json, none with --smoke"
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes on the CPU")
    arguments = parser.parse_args(argv)
    device = "cpu" if arguments.smoke else arguments.device
    if device != "cpu" and not torch.cuda.is_available():
        parser.error(f"torch {torch.__version__} sees no CUDA; --smoke needs none")
    began, small = time.monotonic(), arguments.smoke
    out = arguments.out or (None if small else ROOT / "benchmarks" / "results" / "gpu.json")
    results = Results(out, machine(device))

    with tempfile.TemporaryDirectory() as folder:
        work = {
            "embedding": lambda report: embedding.measure(
                device, embedding.SMOKE if small else embedding.FULL, folder, arguments.threads, report
            ),
            "kernels": lambda report: kernels.measure(device, kernels.SMOKE if small else kernels.Sizes(), report),
        }
        for name in arguments.parts:
            results.part(name, work[name], 60 * arguments.minutes - (time.monotonic() - began))
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    return 1 if any("error" in results.found[name] for name in arguments.parts) else 0


if __name__ == "__main__":
    sys.exit(main())
