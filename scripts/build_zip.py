"""Build the package as one .zip for `spark-submit --py-files`; everything it depends on must be installed already.

python scripts/build_zip.py [--to dist]

A wheel in `--py-files` is found by the driver and not by executors, which import from .zip, .egg and .jar alone.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from spark_imgdedup import __version__

PACKAGE = Path(__file__).resolve().parents[1] / "spark_imgdedup"
LEFT_OUT = {"__pycache__", "_sample_shards"}  # the demo reads its shards as files
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip can hold: same sources, same bytes


def build_zip(folder: Path) -> Path:
    """Write <folder>/spark_imgdedup-<version>.zip: code, weights and all other data of the package."""
    files = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and not LEFT_OUT & set(path.parts))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"spark_imgdedup-{__version__}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            member = zipfile.ZipInfo(path.relative_to(PACKAGE.parent).as_posix(), EPOCH)
            archive.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return target


def main() -> None:
    """Build the zip and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("dist"), help="folder of the zip (default: dist)")
    print(build_zip(parser.parse_args().to))


if __name__ == "__main__":
    main()
