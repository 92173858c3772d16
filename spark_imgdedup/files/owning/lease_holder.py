"""Who holds a lease, and whether that process still lives. No Spark."""

from __future__ import annotations

import getpass
import json
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from spark_imgdedup.files.owning.lease_slots import Seen

TTL_SECONDS = 90.0
# What a file may say at most: one that was tampered with must not hold a folder for ever.
MAX_TTL_SECONDS = 3600.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        run: Told from every other run.
        user: Its user.
        host: Its machine.
        pid: Its process.
        machine: What tells this start of this machine, and its processes' numbers, from others; "" where unknown.
        started: When the process started, by that machine's count; "" where unknown.
        doing: The steps it takes.
        since: When it took the lease, by its own clock.
        renewed: When it gave the latest sign of life, likewise; of a local file, its time says that.
        ttl_seconds: After so long without a sign of life it is given up.
    """

    run: str
    user: str
    host: str
    pid: int
    machine: str
    started: str
    doing: str
    since: str
    renewed: str
    ttl_seconds: float = TTL_SECONDS

    @classmethod
    def here(cls, doing: str, ttl_seconds: float = TTL_SECONDS) -> Holder:
        """This process."""
        pid, now = os.getpid(), _stamp()
        machine, started = _machine(), _started(pid) or ""
        return cls(uuid.uuid4().hex, _user(), socket.gethostname(), pid, machine, started, doing, now, now, ttl_seconds)

    @classmethod
    def parse(cls, data: bytes) -> Holder | None:
        """Who a file names; None where it is cut, or not of ours."""
        try:
            found = json.loads(data)
            texts = {name: str(found[name]) for name in (each.name for each in fields(cls))}
            ttl = min(max(float(found["ttl_seconds"]), 0.0), MAX_TTL_SECONDS)
            return cls(**texts | {"pid": int(found["pid"]), "ttl_seconds": ttl})  # type: ignore[arg-type]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def renewed_now(self) -> Holder:
        """The same with a new sign of life."""
        return replace(self, renewed=_stamp())

    def to_bytes(self) -> bytes:
        """What its file holds."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @property
    def has_died(self) -> bool:
        """True where its process was on this machine and is no more; False where that cannot be known from here."""
        if not self.machine or self.machine != _machine():
            return False
        try:
            os.kill(self.pid, 0)  # asks only; where /proc hides other users' processes, this does not
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
        started = _started(self.pid)
        return started is not None and started != self.started


def age_of(seen: Seen, holder: Holder | None, now: datetime) -> float | None:
    """Seconds since the latest sign of life; None where neither the storage nor the lease says it."""
    latest = seen.modified
    if latest is None and holder is not None:
        with suppress(ValueError):
            latest = datetime.fromisoformat(holder.renewed)
    return None if latest is None else (now - latest).total_seconds()


def in_words(seen: Seen, now: datetime | None) -> str:
    """Who a lease names, since when, and of when the latest sign of life is if `now` is given."""
    holder = Holder.parse(seen.data)
    age = age_of(seen, holder, now) if now is not None else None
    life = "" if age is None else f", last sign of life {max(age, 0.0):.0f} s ago"
    if holder is None:
        return f"by a run that has not yet said which, or whose lease is damaged{life}"
    since = f"{holder.since[:19].replace('T', ' ')} UTC"
    return f"by {holder.user}@{holder.host}, process {holder.pid}, {holder.doing}, since {since}{life}"


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _machine() -> str:
    """This start of this machine, and the namespace that our number is one of."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in ticks since the machine did; "ended" of one that only waits to be taken note of.

    None where it cannot be told. Source: proc(5), fields 3 and 22.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            found: list[Any] = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return "ended" if found[0] in "ZX" else str(found[19])
