"""A whole run as a user starts it, in a session of its own, and faults at moments that its log tells."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from spark_imgdedup.config.steps import STEP
from spark_imgdedup.errors import ImgDedupError
from tests.cluster.submitting import ROOT, bare_environment
from tests.faults.plans import PUBLISH, STEPS, Fault
from tests.faults.processes import PATIENCE, end_of_session, wait_for

LIMIT_SECONDS = 420
OURS = [kind.__name__ for kind in ImgDedupError.__subclasses__()]
SPARK = {"spark.master": "local[2,2]", "spark.sql.shuffle.partitions": "2", "spark.driver.memory": "1g"}


@dataclass
class Run:
    """A command that runs, its output going to a file."""

    command: Sequence[str]
    place: Path  # with work/ and out/
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    is_quiet: bool = True  # Spark says nothing beside our lines
    seconds: float = 0.0
    code: int | None = None

    def start(self) -> Run:
        self._began = time.monotonic()
        environment = {
            **bare_environment(),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                self.command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self

    @property
    def session(self) -> int:
        return self._process.pid

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def reaches(self, step: str) -> bool:
        """Wait until it begins a step, or publishes; False where it ended before."""

        def is_there() -> bool:
            if step == PUBLISH:
                return any((self.place / "out").rglob("[0-9]*.tar"))
            return not step or f" {step}: {STEP[step].purpose}" in self.said

        wait_for(lambda: self.is_over or is_there(), LIMIT_SECONDS)
        return is_there() and not self.is_over

    def wait(self) -> list[str]:
        """Wait for its end and that of all that it started; names what did not end by itself."""
        try:
            self.code = self._process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.code = self._process.wait()
            end_of_session(self.session)
            return [f"did not end within {LIMIT_SECONDS} s"]
        self.seconds = time.monotonic() - self._began
        return [f"still there {PATIENCE} s after: {command}" for command in end_of_session(self.session)]

    def step_seconds(self) -> dict[str, float]:
        """How long each step took, by its own words."""
        found = {}
        for step in STEPS:
            if match := re.search(rf" {step}: .* in ([\d.]+) s", self.said):
                found[step] = float(match[1])
        return found

    def problem(self) -> str:
        """What is wrong with how it told of its failure; "" where that is one line of ours."""
        ours = re.findall(rf"^(?:{'|'.join(OURS)}): .+", self.said, re.MULTILINE)
        if self.is_quiet and re.search(r"^Traceback ", self.said, re.MULTILINE):
            return f"a traceback: {self.said[-3000:]}"
        return "" if self.code == 2 and ours else f"exit code {self.code}, said {self.said[-3000:]}"


def local_run(settings: Mapping[str, object], place: Path, name: str, **environment: str) -> Run:
    """`spark-imgdedup run` in local mode. Temporary files go below `place`, whose log is `name`."""
    temporary = place.parent / "tmp"
    temporary.mkdir(exist_ok=True)
    config = place.parent / "dedup.yaml"
    config.write_text(yaml.safe_dump({**settings, "spark": {**SPARK, "spark.local.dir": str(temporary)}}))
    command = [sys.executable, "-m", "spark_imgdedup", "run", "--config", str(config)]
    return Run(command, place, place.parent / name, {"TMPDIR": str(temporary), **environment})


def moment(run: Run, fault: Fault, seconds: Mapping[str, float], share: float) -> bool:
    """Wait for the moment of a fault; False where the run ended before."""
    if not run.reaches(fault.step):
        return False
    time.sleep(share * seconds.get(fault.step, 0.0))
    return not run.is_over


def inject(start: Callable[[], Run], hit: Callable[[Run, float], bool], share: float) -> Run:
    """Start a run and hit it; where it is over before, start another and hit that one earlier.

    Raises:
        AssertionError: three were too quick.
    """
    for _ in range(3):
        run = start()
        try:
            if hit(run, share):
                return run
        except BaseException:
            run.wait()
            raise
        run.wait()
        share /= 3
    raise AssertionError(f"nothing was hit: {run.said[-1000:]}")
