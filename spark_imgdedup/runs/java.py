"""Is there a Java that Spark can run on? Needs nothing installed: the Makefile runs this file before anything else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

# Spark 4 runs on 17 and 21.
OLDEST_JAVA = 17


def java_problem() -> str | None:
    """What is wrong with Java here and what to install, in one line; None if nothing is."""
    java = _java()
    remedy = (
        f"Install Java {OLDEST_JAVA} or newer (Debian, Ubuntu: apt-get install openjdk-17-jre-headless), "
        "and set JAVA_HOME if it is not on PATH."
    )
    try:
        said = subprocess.run([java or "java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return f"Spark needs Java, and none was found {f'at {java}' if java else 'on PATH'}. {remedy}"
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None:
        return (
            f"Spark needs Java {OLDEST_JAVA}, but {java} names no version; it said '{' '.join(said.split())}'. {remedy}"
        )
    if int(version[1]) < OLDEST_JAVA:
        return f"Spark needs Java {OLDEST_JAVA}, found {version[1]} at {java}. {remedy}"
    return None


def java_version() -> str | None:
    """The line in which Java names its version; None where there is no Java."""
    try:
        said = subprocess.run([_java() or "java", "-version"], capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    return next((line for line in said.splitlines() if "version" in line), None)


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return os.path.join(home, "bin", "java") if home else shutil.which("java")


if __name__ == "__main__":
    sys.exit(java_problem())
