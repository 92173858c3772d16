"""The notebook that chooses eps by looking: committed with what it printed, which is what it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "jobs/notebooks/explore_eps.ipynb"
PATHS = re.compile(r"(?<![\w.-])/(?:work|tmp|root|home|Users)/|file:/")


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def outputs(cell, kind):
    return "".join("".join(output.get("data", {}).get(kind, "")) for output in cell["outputs"])


def numbers(html):
    """The cells of a table, without the styles that stand before it."""
    return re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", html)


def test_it_is_committed_with_its_outputs_and_names_no_folder_of_a_machine():
    cells = code_cells(NOTEBOOK)

    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert [bool(cell["outputs"]) for cell in cells] == [False, *[True] * (len(cells) - 1)]
    assert not any(output.get("name") == "stderr" for cell in cells for output in cell["outputs"])
    assert not PATHS.search(NOTEBOOK.read_text())
    assert sum(outputs(cell, "text/html").count('src="data:image/webp') for cell in cells) == 16


@pytest.mark.slow
def test_its_cells_give_today_what_is_committed(tmp_path):
    made = tmp_path / "explore_eps.ipynb"
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/run_notebook.py", NOTEBOOK, "--to", made],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    for before, after in zip(code_cells(NOTEBOOK), code_cells(made), strict=True):
        if "".join(before["source"]).splitlines()[-1] == "result":  # seconds, and bytes of a page
            assert "75 (25.9%) by greedy at eps 0.22" in outputs(after, "text/html")
        else:
            assert outputs(after, "text/plain") == outputs(before, "text/plain")
            assert numbers(outputs(after, "text/html")) == numbers(outputs(before, "text/html"))
