"""`airflow dags test` on a standalone cluster gives what `spark-imgdedup run` gives, also on the second try."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from tests.airflow.conftest import DAY
from tests.airflow.running import steps_that
from tests.cluster.results import assert_same_result, rows_of, tars_of
from tests.cluster.submitting import LIMIT_SECONDS, ROOT, bare_environment


@pytest.fixture(scope="module")
def local(days, tmp_path_factory):
    """Where the tables and tars of the same day in local mode are."""
    out = tmp_path_factory.mktemp("local")
    sets = {"input.path": days.folder / "incoming" / DAY, "work_dir": out / "work", "output.path": out / "tars"}
    done = subprocess.run(
        [sys.executable, "-m", "spark_imgdedup", "run", *(w for key in sets for w in ("--set", f"{key}={sets[key]}"))],
        env={**bare_environment(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def ours(days, tmp_path_factory):
    """The day's tables and tars, named as `local` names them."""
    out = tmp_path_factory.mktemp("ours")
    for name in ("work", "tars"):
        (out / name).symlink_to(days.folder / name / DAY)
    return out


@pytest.fixture(scope="module")
def first(connected, days, tmp_path_factory):
    """What the first run of the day says. Its step cluster fails once: its job is not there when it is first called."""
    log = tmp_path_factory.mktemp("log") / "first"
    (days.folder / "jobs/cluster.py").unlink()
    with log.open("w") as out:
        run = subprocess.Popen(
            connected.command(*days.command(DAY)),
            env=connected.env,
            cwd=connected.cwd,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for("Error code is", log, run)
            shutil.copy(ROOT / "jobs/cluster.py", days.folder / "jobs")
            code = run.wait(2 * LIMIT_SECONDS)
        finally:
            run.kill()
            run.wait()
    assert code == 0, log.read_text()[-5000:]
    return log.read_text()


def wait_for(text, log, run):
    deadline = time.monotonic() + LIMIT_SECONDS
    while text not in log.read_text():
        assert run.poll() is None, "the run ended before any of its tasks failed:\n" + log.read_text()[-3000:]
        assert time.monotonic() < deadline, f"no task failed within {LIMIT_SECONDS} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def second(connected, days, first):
    """What the second run of the day says, and the files before it."""
    before = days.files(DAY)
    again = connected.run(*days.command(DAY))
    assert again.returncode == 0, again.stdout[-5000:]
    return again.stdout, before


def test_a_day_gives_the_tables_and_tars_of_a_run_in_local_mode(first, ours, local):
    assert len(rows_of(local, "embeddings")) > len(rows_of(local, "duplicates")) > 10
    assert sorted(tars_of(ours)) == ["tars/crawl/photos-00000.tar", "tars/photos-00000.tar"]
    assert_same_result(ours, local)


def test_a_task_that_failed_is_tried_again_alone(first):
    started = [line.split("task_id=")[1].split()[0] for line in first.splitlines() if "[DAG TEST] starting" in line]

    assert started == ["prepare", "embed", "cluster", "cluster", "pairwise", "identify", "remove", "report"]
    assert "can't open file" in first
    assert first.count(" embed: Decode every image") == 1


def test_the_log_of_report_has_the_summary(first):
    assert " samples, " in first
    assert " duplicates   16 " in first


def test_a_second_run_of_a_day_skips_every_step_and_touches_no_file(second, days):
    said, before = second

    assert steps_that(said, "unchanged") == ["embed", "cluster", "pairwise", "identify", "remove"]
    assert len(before) > 10
    assert days.files(DAY) == before


@pytest.mark.thorough
def test_another_eps_renews_what_depends_on_it_and_nothing_else(connected, days, second, local, ours):
    done = connected.run(*days.command(DAY, eps=0.01))

    assert done.returncode == 0, done.stdout[-5000:]
    assert steps_that(done.stdout, "unchanged") == ["embed", "cluster", "pairwise"]
    report = json.loads((ours / "work/report/report.json").read_text())
    assert report["summary"]["eps"] == 0.01
    expected = {row["image_id"] for row in rows_of(local, "duplicates") if row["cosine_sim_score"] >= 0.99}
    assert {row["image_id"] for row in rows_of(ours, "removed")} == expected
    assert 0 < len(expected) < len(rows_of(local, "duplicates"))


@pytest.mark.parametrize("eps", [1, -0.1, "0.1"])
def test_an_eps_that_is_none_is_refused_before_anything_starts(airflow, days, eps):
    done = airflow.run(*days.command("2026-01-08", eps=eps))

    assert done.returncode != 0
    assert "Invalid input for param eps" in done.stdout
    assert "starting task_id" not in done.stdout


@pytest.mark.parametrize("files", [None, ["_SUCCESS"]], ids=["no folder", "a folder without data"])
def test_a_day_without_data_is_skipped_with_the_reason(airflow, days, files):
    day = "2026-01-07" if files is None else "2026-01-09"
    folder = days.folder / "incoming" / day
    for name in files or ():
        folder.mkdir()
        (folder / name).touch()

    done = airflow.run(*days.command(day))

    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{folder} is missing or has no files: no data for {day}, its steps are skipped." in done.stdout
    assert done.stdout.count("[DAG TEST] starting") == 1
    assert "Spark-Submit cmd" not in done.stdout
    assert not (days.folder / "work" / day).exists()
