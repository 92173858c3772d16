"""What the processes of a run hold, by /proc: memory and open files of the driver, of the JVM and of the workers."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def below(parent):
    """The process ids of a process and of all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [parent]
    for each in found:
        found += children.get(each, [])
    return found


def role_of(pid, driver):
    """driver, jvm or worker; None of another process, or of one that has ended."""
    if pid == driver:
        return "driver"
    try:
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    if words[0].endswith(b"java"):
        return "jvm"
    return "worker" if any(word.startswith(b"pyspark.") for word in words) else None


def look(driver):
    """Bytes resident and open files by role, and the bytes of the largest worker."""
    found = {"driver": 0, "jvm": 0, "workers": 0, "largest_worker": 0, "n_workers": 0, "open_files": 0}
    for pid in below(driver):
        role = role_of(pid, driver)
        if role is None:
            continue
        try:
            place = Path("/proc") / str(pid)
            n_bytes = int((place / "statm").read_text().split()[1]) * PAGE_BYTES
            found["open_files"] += len(os.listdir(place / "fd"))
        except OSError:
            continue
        if role == "worker":
            found["workers"] += n_bytes
            found["n_workers"] += 1
            found["largest_worker"] = max(found["largest_worker"], n_bytes)
        else:
            found[role] += n_bytes
    return found


def count_files(folder):
    """Files below a folder, and their bytes; a file that goes meanwhile does not count."""
    n_files, n_bytes, waiting = 0, 0, [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
                continue
            try:
                n_bytes += entry.stat(follow_symlinks=False).st_size
                n_files += 1
            except OSError:
                continue
    return n_files, n_bytes
