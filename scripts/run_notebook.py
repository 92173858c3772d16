"""Run a notebook in an empty folder, and store it with its outputs but for what differs from machine to machine.

python scripts/run_notebook.py jobs/notebooks/explore_eps.ipynb --to jobs/notebooks/explore_eps.ipynb
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 3000
# Parts of them have no types.
nbformat: Any = importlib.import_module("nbformat")
nbclient: Any = importlib.import_module("nbclient")
# An object that has HTML to show is in text an address of memory.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def run_notebook(source: Path) -> Any:
    """The notebook with what its cells give; kernels see this checkout's package.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(source, as_version=4)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without the version of this Python
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if cell.cell_type == "code":
            cell.outputs = [_clean(each) for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def _clean(output: Any) -> Any:
    for kind, text in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _ADDRESS.sub("", text.replace(f"{ROOT}/", ""))
    return output


def main() -> None:
    """Read the arguments, run, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    nbformat.write(run_notebook(options.notebook), options.to)


if __name__ == "__main__":
    main()
