"""What `make audit` makes of the answers of pip-audit."""

from __future__ import annotations

import json

import pytest

from scripts.audit import verdict

SAFE = {"name": "numpy", "version": "2.4.0", "vulns": []}
UNSAFE = {"name": "pillow", "version": "9.0.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["9.0.1", "9.1"]}]}
UNKNOWN = {"name": "tzdata", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("dependencies", "lines", "is_fine"),
    [
        ([SAFE], ["a.txt: 1 packages audited, 0 vulnerabilities known"], True),
        (
            [SAFE, UNSAFE],
            [
                "a.txt: pillow 9.0.0 has PYSEC-1, mended in 9.0.1, 9.1",
                "a.txt: 2 packages audited, 1 vulnerabilities known",
            ],
            False,
        ),
        (
            [SAFE, UNKNOWN],
            [
                "a.txt: 1 packages audited, 0 vulnerabilities known, and 1 could not be audited: the index does not "
                "know them"
            ],
            True,
        ),
    ],
)
def test_a_known_vulnerability_is_named_and_refused(dependencies, lines, is_fine):
    assert verdict("a.txt", json.dumps({"dependencies": dependencies, "fixes": []})) == (lines, is_fine)


@pytest.mark.parametrize("said", ["", "Traceback", "{}"])
def test_an_index_that_does_not_answer_is_said_and_stops_nothing(said):
    lines, is_fine = verdict("a.txt", said)

    assert (is_fine, len(lines)) == (True, 1)
    assert "not audited" in lines[0]
