"""scripts/local_cluster.sh: what it starts, starts again, and leaves alone."""

from __future__ import annotations

import subprocess

from tests.cluster.submitting import script


def test_a_master_and_two_workers_run_and_starting_them_again_changes_nothing(cluster):
    pids = [cluster.pid(name) for name in ("master", "worker-1", "worker-2")]

    again = script("local_cluster.sh", "start", cluster.folder)
    status = script("local_cluster.sh", "status", cluster.folder)

    assert again.stdout.strip() == cluster.url
    assert cluster.url.startswith("spark://127.0.0.1:")
    assert [cluster.pid(name) for name in ("master", "worker-1", "worker-2")] == pids
    assert status.returncode == 0
    assert [line for line in status.stdout.splitlines() if " runs, pid" in line] == [
        f"{name} runs, pid {pid}" for name, pid in zip(("master", "worker-1", "worker-2"), pids, strict=True)
    ]


def test_stop_leaves_a_process_alone_that_has_got_the_number_of_one_of_ours(tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "worker-1.pid").write_text(f"{other.pid}\n")

        stopped = script("local_cluster.sh", "stop", tmp_path)

        assert (stopped.returncode, stopped.stdout) == (0, "")
        assert other.poll() is None
        assert not (tmp_path / "worker-1.pid").exists()
    finally:
        other.kill()
        other.wait()


def test_what_a_killed_cluster_has_left_in_its_logs_is_not_taken_for_the_word_of_the_next_one(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/master.log").write_text("Starting Spark master at spark://127.0.0.1:9\nRunning Spark version\n")
    (tmp_path / "logs/worker-1.log").write_text("Successfully registered with master spark://127.0.0.1:9\n")
    try:
        started = script("local_cluster.sh", "start", tmp_path, N_WORKERS="1", WORKER_MEMORY="1g")

        assert started.returncode == 0, started.stderr
        assert started.stdout.strip().rpartition(":")[2] not in ("", "9")
        assert started.stdout.strip() in (tmp_path / "logs/worker-1.log").read_text()
    finally:
        script("local_cluster.sh", "stop", tmp_path)


def test_stopping_takes_all_three_away_and_a_second_stop_is_no_error(tmp_path):
    folder = tmp_path / "another"
    started = script("local_cluster.sh", "start", folder, N_WORKERS="1", WORKER_MEMORY="1g")
    assert started.returncode == 0, started.stderr
    pids = [int(path.read_text()) for path in folder.glob("*.pid")]

    stopped = script("local_cluster.sh", "stop", folder)
    again = script("local_cluster.sh", "stop", folder)

    assert len(pids) == 2
    assert stopped.stdout.splitlines() == ["worker-1 stopped", "master stopped"]
    assert not [pid for pid in pids if is_alive(pid)]
    assert (again.returncode, again.stdout) == (0, "")
    assert script("local_cluster.sh", "status", folder).returncode == 1


def is_alive(pid):
    """False for a zombie too: whether it is reaped is the business of the machine's first process."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.strip()[:1] not in ("", "Z")
