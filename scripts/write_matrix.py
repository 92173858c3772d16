"""Write README's table of what is tested against what, from the markers of the tests and the locked versions.

python scripts/write_matrix.py [--to README.md]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- Written by scripts/write_matrix.py: run `make docs`. -->"
END = "<!-- End of what is written. -->"


@dataclass(frozen=True)
class Component:
    """A row of the table.

    Attributes:
        name: What users run the package with.
        marker: The pytest marker of the tests that start it.
        command: The documented command that runs them.
        against: What they start. {lock:package} is the version in requirements/<lock>.txt, {file} the version that a
            script states.
        remark: What the tests do not show.
        elsewhere: Where the tests are if another environment than this one collects them.
    """

    name: str
    marker: str
    command: str
    against: str
    remark: str = ""
    elsewhere: str = ""


COMPONENTS = (
    Component("Spark in one process", marker="spark", command="make test", against="pyspark {run:pyspark}, Java 17"),
    Component(
        "Spark 3.5",
        marker="spark35",
        command="make spark35",
        against="pyspark {spark35:pyspark}",
        remark='stages and jobs, without `format("webdataset")`',
    ),
    Component("Spark Connect", marker="connect", command="make connect", against="the server of pyspark {dev:pyspark}"),
    Component(
        "spark-submit, a cluster",
        marker="cluster",
        command="make cluster",
        against="a standalone master and two workers of pyspark {dev:pyspark}",
        remark="one machine; YARN, Kubernetes and EMR are described only",
    ),
    Component(
        "Airflow",
        marker="airflow",
        command="make airflow",
        against="apache-airflow {airflow:apache-airflow} and that cluster",
        remark="the Databricks DAG is imported and rendered, not run",
    ),
    Component(
        "S3",
        marker="s3",
        command="make s3",
        against="versitygw {scripts/s3_server.sh}, s3fs {dev:s3fs}, hadoop-aws",
        remark="one machine; abfss and gs are described only",
    ),
    Component("Delta", marker="delta", command="make delta", against="delta-spark {dev:delta-spark}"),
    Component(
        "RAPIDS",
        marker="rapids",
        command="make rapids",
        against="the plugin {scripts/fetch_rapids.sh} in `explainOnly`",
        remark="plans only: nothing ran on a GPU",
    ),
    Component(
        "kills, full disks, lost power, a store in trouble",
        marker="faults",
        command="make faults",
        against="one machine, that cluster, and versitygw {scripts/s3_server.sh} behind a proxy that fails",
        remark="one machine; more than a hundred faults by `make faults-100`",
    ),
    Component(
        "Chromium",
        marker="browser",
        command="make browser",
        against="Debian's package, by selenium {dev:selenium}",
        remark="the report page; no other browser",
    ),
    Component(
        "open_clip, timm, torch",
        marker="torch",
        command="make torch",
        against="torch {clip:torch}, open_clip {clip:open-clip-torch}, timm {clip:timm}",
        remark="on the CPU, without published CLIP weights",
        elsewhere="models/with_torch",
    ),
    Component(
        "wheel and sdist",
        marker="packaging",
        command="make packaging",
        against="pip's resolution of each extra; the demo, from an empty folder",
    ),
)


def matrix() -> str:
    """The table, as Markdown.

    Raises:
        SystemExit: no test has the marker of a row, or a version is not where it is looked for.
    """
    rooms = _rooms_by_marker()
    lines = ["| | tested against | tests | command | not shown |", "|---|---|---|---|---|"]
    for row in COMPONENTS:
        found = sorted({row.elsewhere} if row.elsewhere else rooms.get(row.marker, ()))
        if not all((ROOT / "tests" / room).exists() for room in found) or not found:
            raise SystemExit(f"no test is marked {row.marker}. Correct COMPONENTS in scripts/write_matrix.py.")
        against = re.sub(r"{([^}]+)}", lambda match: _version(match[1]), row.against)
        places = ", ".join(f"`tests/{room}`" for room in found) if len(found) < 4 else "most folders of `tests/`"
        lines.append(f"| {row.name} | {against} | {places} | `{row.command}` | {row.remark} |")
    return "\n".join(lines)


def _version(place: str) -> str:
    if "/" in place:
        file, pattern = ROOT / place, r"^(?:version|VERSITYGW)=v?([\d.]+)"
    else:
        lock, _, package = place.partition(":")
        file, pattern = ROOT / "requirements" / f"{lock}.txt", rf"^{re.escape(package)}==([^ ;]+)"
    found = re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{file}: no line matches {pattern}. Correct COMPONENTS in scripts/write_matrix.py.")
    return found[1]


def _rooms_by_marker() -> dict[str, set[str]]:
    """The rooms of tests/ in which tests have a marker."""
    found: dict[str, set[str]] = {}
    command = [sys.executable, __file__, "--collect"]
    for line in subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        if line.startswith("MARKER "):
            _, marker, room = line.split()
            found.setdefault(marker, set()).add(room)
    return found


def _collect() -> int:
    """Print the markers; Connect's are marked in a collection of their own, which takes the modules of the first."""
    import pytest

    class Markers:
        """Prints the markers of the tests that are left."""

        def pytest_collection_finish(self, session: pytest.Session) -> None:
            rooms = {(marker.name, _room(item.path)) for item in session.items for marker in item.iter_markers()}
            print(*(f"\nMARKER {name} {room}" for name, room in sorted(rooms)))

    asked = ["--collect-only", "-q", "--assert=plain", "-p", "no:cacheprovider"]
    return pytest.main(asked, plugins=[Markers()]) or pytest.main([*asked, "-m", "connect"], plugins=[Markers()])


def _room(file: Path) -> str:
    return file.relative_to(ROOT / "tests").parts[0]


def _rewritten(page: str) -> Iterator[str]:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md: the lines {BEGIN} and {END} are missing. Put them where the table belongs.")
    yield from (before, begin, "\n\n", matrix(), "\n\n", end, after)


def main() -> None:
    """Write the table between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "README.md", help="the page that has the marks")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.collect:
        raise SystemExit(_collect())
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    arguments.to.write_text("".join(_rewritten(page)), encoding="utf-8")


if __name__ == "__main__":
    main()
