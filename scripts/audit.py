"""Ask whether a version in the lock files has a known vulnerability; say so where nobody can be asked.

python scripts/audit.py [requirements/run.txt …]
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements/run.txt", "requirements/dev.txt")
MOST_SECONDS = 20


def ask(lock: str) -> str:
    """What pip-audit says of a lock file, as JSON; nothing where it cannot say anything."""
    options = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json")
    command = [sys.executable, "-m", "pip_audit", *options, "-r", str(ROOT / lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def verdict(lock: str, said: str) -> tuple[list[str], bool]:
    """Lines for a terminal, and whether the lock may stay: what could not be asked is no reason against it."""
    try:
        dependencies = json.loads(said)["dependencies"]
    except (ValueError, KeyError):
        return [f"{lock}: not audited: pip-audit is not installed, or cannot reach the index"], True
    asked = [each for each in dependencies if "vulns" in each]
    found = [
        f"{lock}: {each['name']} {each['version']} has {flaw['id']}, mended in "
        f"{', '.join(flaw.get('fix_versions', ())) or 'no version yet'}"
        for each in asked
        for flaw in each["vulns"]
    ]
    unknown = len(dependencies) - len(asked)
    left = f", and {unknown} could not be audited: the index does not know them" if unknown else ""
    return [*found, f"{lock}: {len(asked)} packages audited, {len(found)} vulnerabilities known{left}"], not found


def main(locks: Sequence[str]) -> int:
    """Print the verdict of each lock; 1 where one has a known vulnerability."""
    verdicts = [verdict(lock, ask(lock)) for lock in locks or LOCKS]
    for lines, _ in verdicts:
        print("\n".join(lines))
    return 0 if all(is_fine for _, is_fine in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
