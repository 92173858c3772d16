"""Is everything there that a configuration needs? Each check tries the thing: imports it, lists it, writes to it.

Libraries count where the work is done: they are looked for on a Spark worker, and here only where no Spark is started.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from spark_imgdedup import __version__
from spark_imgdedup.checkup.check import Check
from spark_imgdedup.checkup.diagnosis import Diagnosis
from spark_imgdedup.checkup.libraries import check_libraries, probe
from spark_imgdedup.checkup.places import check_places
from spark_imgdedup.checkup.start import check_delta, check_start
from spark_imgdedup.config import Config
from spark_imgdedup.runs.classic import is_classic
from spark_imgdedup.runs.java import java_problem, java_version
from spark_imgdedup.runs.libraries import extra, starts_java, version_of
from spark_imgdedup.runs.plan import resolve_format
from spark_imgdedup.runs.problems import in_one_line
from spark_imgdedup.runs.session import get_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


# What no setting needs and is worth a line all the same, where it is there.
_SHOWN_WHERE_THERE = ("gpu", "cupy")


def examine(config: Config, *, with_spark: bool = True) -> list[Check]:
    """All checks of what these settings need, in the order of a run.

    Args:
        config: Decides what is needed and which places are looked at.
        with_spark: Start Spark and ask a worker; else the libraries are looked for here.
    """
    with suppress(Exception):  # of any store; the checks of places say what is wrong there
        config = resolve_format(config)
    spark, worker, checks = None, None, [_python(), _java(config), _pyspark()]
    if with_spark:
        spark, worker, spark_checks = _spark(config)
        checks += spark_checks
    found, there = (worker, "on a worker") if worker else (probe(), "here")
    checks += check_libraries(config, found, there)
    checks += [_gpu(config, found, there), *check_places(config, spark), *check_delta(config, spark)]
    checks += check_start(config, spark)
    return [check for check in checks if check.is_needed or (check.is_ok and check.name in _SHOWN_WHERE_THERE)]


def _python() -> Check:
    found = platform.python_version_tuple()
    is_ok = (int(found[0]), int(found[1])) >= (3, 11)
    return Check("python", is_ok, ".".join(found), "runs this package", "install Python 3.11 or newer", True)


def _java(config: Config) -> Check:
    problem = java_problem()
    remedy = "apt-get install openjdk-17-jre-headless, and set JAVA_HOME if it is not on PATH"
    found = problem or java_version() or ""
    return Check("java", problem is None, found, "Spark runs on it", remedy, starts_java(config))


def _pyspark() -> Check:
    is_ok, found = version_of("pyspark")
    remedy = f"{extra('spark')}, or spark-submit on a cluster"
    return Check("pyspark", is_ok, found, "every step is a Spark job", remedy, True)


def _spark(config: Config) -> tuple[SparkSession | None, dict[str, Any] | None, list[Check]]:
    """A session, what a worker of it says, and the checks of both."""
    why, remedy = "every step is a Spark job", "mend what the line says; --no-spark leaves this check out"
    try:
        spark = get_session(config)
        found = f"{spark.version}, {'classic' if is_classic(spark) else 'Connect'}"
        checks = [Check("spark", True, found, why, remedy, True)]
    except Exception as error:  # Java's, Py4J's and ours
        return None, None, [Check("spark", False, in_one_line(error), why, remedy, True)]
    why = "workers do the work: they need this package and the same Python"
    remedy = "install the package on every worker, or ship an environment with --archives; set PYSPARK_PYTHON"
    try:
        worker = _ask_worker(spark)
    except Exception as error:
        return spark, None, [*checks, Check("spark workers", False, in_one_line(error), why, remedy, True)]
    is_ok = worker["package"] == __version__ and _minor(worker["python"]) == _minor(platform.python_version())
    found = f"Python {worker['python']}, spark_imgdedup {worker['package']}"
    return spark, worker, [*checks, Check("spark workers", is_ok, found, why, remedy, True)]


def _ask_worker(spark: SparkSession) -> dict[str, Any]:
    import pyarrow as pa

    def ask(batches: Iterable[Any]) -> Iterable[Any]:
        for _ in batches:
            yield pa.RecordBatch.from_pydict({"found": [json.dumps(probe())]})

    answer: dict[str, Any] = json.loads(spark.range(0, 1, 1, 1).mapInArrow(ask, "found string").collect()[0]["found"])
    return answer


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def _gpu(config: Config, found: Mapping[str, Any], there: str) -> Check:
    n_gpus = found["gpus"]
    why = "embed.device gpu needs one; auto takes the CPU without"
    remedy = "a machine with NVIDIA's driver; conf/gpu.yaml; or embed.device: auto"
    return Check("gpu", n_gpus > 0, f"{n_gpus} {there}", why, remedy, config.embed.device == "gpu")


def is_healthy(checks: Sequence[Check]) -> bool:
    """True where everything that the configuration needs is there."""
    return not missing(checks)


def missing(checks: Sequence[Check]) -> list[str]:
    """The names of what is needed and not there."""
    return [check.name for check in checks if check.is_needed and not check.is_ok]


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks for programs: {is_ok, checks: [{name, is_ok, found, why, remedy, is_needed}]}."""
    return {"is_ok": is_healthy(checks), "checks": [asdict(check) for check in checks]}


def print_checks(checks: Sequence[Check], console: Console) -> None:
    """The checks in lines that can be copied at any width, and a line that sums them up."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{'ok' if check.is_ok else 'MISSING':<9}{check.name:<{width}}  {check.found}")
        if not check.is_ok:
            indent = " " * 9
            lines += [f"{indent}{'':<{width}}  needed: {check.why}", f"{indent}{'':<{width}}  to do: {check.remedy}"]
    if needed := missing(checks):
        lines += ["", f"needed and missing: {', '.join(needed)}"]
    elif any(check.name == "run" for check in checks):
        lines += ["", "everything needed is there: run will start"]
    else:
        lines += ["", "the installation is complete; no input is named, so of a run nothing is known yet"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def doctor(config: Config, *, with_spark: bool = True) -> Diagnosis:
    """What the settings need, and whether it is there; shown as the command `doctor` shows it.

    Args:
        config: Decides what is needed and which places are looked at.
        with_spark: Start Spark and ask a worker; else the libraries are looked for here.
    """
    return Diagnosis(tuple(examine(config, with_spark=with_spark)), print_checks)
