"""The processes of a run: found by session and parents, named by what they do, ended by their numbers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Seconds that processes have to end by themselves once their run is over.
PATIENCE = 45


@dataclass(frozen=True)
class Process:
    """A line of /proc."""

    pid: int
    parent: int
    session: int
    command: str

    @property
    def is_driver_jvm(self) -> bool:
        """Spark's JVM with the driver in it."""
        return "org.apache.spark.deploy.SparkSubmit" in self.command and "/java" in self.command.split("\0")[0]

    @property
    def is_executor(self) -> bool:
        return "CoarseGrainedExecutorBackend" in self.command

    @property
    def is_python_daemon(self) -> bool:
        """pyspark.daemon, or a worker, which is its fork."""
        return "pyspark.daemon" in self.command


def processes() -> dict[int, Process]:
    """All that run, zombies left out, by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile
            # pid (name) state parent group session ...
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            if state != "Z":
                found[int(folder.name)] = Process(int(folder.name), int(parent), int(session), command)
    return found


def of_session(session: int) -> list[Process]:
    """What was started by a command that began a session."""
    return [process for process in processes().values() if process.session == session]


def below(pids: set[int]) -> list[Process]:
    """What descends from processes, themselves included."""
    everything = processes()
    found = set(pids)
    while more := {p.pid for p in everything.values() if p.parent in found} - found:
        found |= more
    return [everything[pid] for pid in found if pid in everything]


def python_daemons(among: list[Process]) -> list[Process]:
    """The daemons of pyspark, which fork workers."""
    daemons = {process.pid for process in among if process.is_python_daemon}
    return [process for process in among if process.is_python_daemon and process.parent not in daemons]


def python_workers(among: list[Process]) -> list[Process]:
    """The workers of pyspark."""
    daemons = {process.pid for process in python_daemons(among)}
    return [process for process in among if process.is_python_daemon and process.parent in daemons]


def kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def end_of_session(session: int) -> list[str]:
    """Wait until nothing of a session runs; end what stays, and name it."""
    if wait_for(lambda: not of_session(session)):
        return []
    left = of_session(session)
    for process in left:
        kill(process)
    return [process.command.replace("\0", " ")[:120] for process in left]
