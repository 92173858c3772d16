"""Imports go down only, and nothing heavy is imported by what does not need it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import spark_imgdedup
from spark_imgdedup.config.steps import STEP, STEP_NAMES
from spark_imgdedup.pipeline import WORK

PACKAGE = Path(spark_imgdedup.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# A room is a folder or a module of its own. Each may import itself and the rooms named here, and no other.
MAY_IMPORT = {
    "errors": set(),
    "schemas": {"errors"},
    "counts": set(),
    "formats": set(),
    "preprocess": set(),
    "files.storage": {"errors"},
    "gpu": {"errors"},
    "kernels": {"formats"},
    "models": {"errors", "kernels", "files.storage", "preprocess"},
    "config": {"errors", "schemas", "counts", "formats", "models", "files.storage", "preprocess"},
    "files": {"errors", "config", "counts", "files.storage", "formats"},
    "stages": {"errors", "schemas", "config", "files", "files.storage", "gpu", "kernels", "models"},
    "datasource": {"errors", "schemas", "config", "files", "files.storage", "models", "stages"},
    "runs": {
        *("__init__", "errors", "schemas", "counts", "formats", "config"),
        *("files", "files.storage", "gpu", "models", "stages"),
    },
    "report": {
        *("__init__", "errors", "schemas", "counts", "config"),
        *("files", "files.storage", "kernels", "stages", "runs"),
    },
    "pipeline": {
        *("__init__", "errors", "schemas", "counts", "config", "files", "files.storage", "models"),
        *("stages", "runs", "report"),
    },
    # The stages as pyspark.ml has them: a door beside pipeline. Its classes derive from pyspark's.
    "ml": {"errors", "config", "files", "files.storage", "stages", "runs"},
    "demo": {"errors", "config", "pipeline", "report", "runs"},
    "checkup": {
        *("__init__", "errors", "config", "files", "files.storage", "gpu", "models"),
        *("stages", "runs", "pipeline"),
    },
    # What the command line does, as functions: the door for Python and notebooks.
    "api": {"config", "pipeline", "report", "runs"},
    "console": {"errors", "runs"},
    "cli": {
        "__init__",
        "console",
        "errors",
        "config",
        "files.storage",
        "models",
        "stages",
        "runs",
        "report",
        "pipeline",
        "demo",
        "checkup",
    },
    "__main__": {"cli"},
    # The door of the package: it names what a notebook uses and imports none of it until then.
    "__init__": {"errors", "config", "datasource", "stages", "runs", "report", "pipeline", "demo", "checkup", "api"},
}
SPARK = {"pyspark", "py4j", "delta"}
HEAVY = {"torch", "torchvision", "open_clip", "timm", "onnxruntime", "cupy"}
# What each room must not import while it is itself imported.
NOT_AT_IMPORT = {
    **dict.fromkeys(("errors", "schemas", "counts", "formats", "gpu"), SPARK | HEAVY | {"pandas"}),
    # Every command reads these first, --help too: 0.15 s of processor time are numpy's and fsspec's.
    **dict.fromkeys(("preprocess", "config"), SPARK | HEAVY | {"pandas", "numpy", "pyarrow", "PIL", "fsspec"}),
    **dict.fromkeys(("files", "files.storage", "models"), SPARK | HEAVY | {"pandas"}),
    "kernels": SPARK | HEAVY | {"pandas", "pyarrow", "pydantic"},
    # Its classes are subclasses of Spark's, and found by name on workers; only `register` imports their modules.
    "datasource": HEAVY | {"pandas"},
    **dict.fromkeys(
        ("stages", "runs", "report", "pipeline", "demo", "checkup", "api", "console", "__init__"), SPARK | HEAVY
    ),
    "cli": SPARK | HEAVY | {"pandas", "numpy", "pyarrow", "PIL", "fsspec"},
}
# Of a kernel or a model not even a function may import Spark; only a model may import torch and its kin, in one.
NEVER = {"kernels": SPARK | {"torch", "onnxruntime"}, "models": SPARK, "files": SPARK, "config": SPARK | HEAVY}
# Only benchmarks/plain_script.py, the yardstick, has a use for it.
NOWHERE = {"faiss"}

# Modules of one room: what opens and lists files, and knows nothing of what is in them.
STORAGE = (["storage"], ["writing"], ["walk"], ["filesystems"], ["kinds"])

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 60
# name: lines, with the reason why it is not parted.
LONGER: dict[str, int] = {}


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def room_of(module):
    """The room of a dotted name below the package."""
    parts = module.split(".")
    return "files.storage" if parts[0] == "files" and parts[1:2] in STORAGE else parts[0]


def room_of_path(path):
    return room_of(name_of(path).removesuffix(".py").replace("/", "."))


def is_module(name):
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def imports_of(tree):
    """(dotted module, runs when the module is imported) of each import."""
    late = {
        node
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(outer, ast.If) and "TYPE_CHECKING" in ast.unparse(outer.test))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node not in late) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from spark_imgdedup.files import storage` names a module, `import Encoder` from a module does not.
            yield from ((name if is_module(name) else node.module, node not in late) for name in names)


def own_rooms(path):
    """The rooms that a module imports: at its head, in a function, or for its types."""
    names = [module.split(".", 1) for module, _ in imports_of(ast.parse(path.read_text()))]
    return {room_of(name[1]) if len(name) == 2 else "__init__" for name in names if name[0] == "spark_imgdedup"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down_only(path):
    room = room_of_path(path)

    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
    assert own_rooms(path) - {room} <= MAY_IMPORT[room]


def test_no_other_room_imports_the_one_that_imports_spark_at_its_head():
    assert not [room for room, others in MAY_IMPORT.items() if "ml" in others]


def test_the_map_of_imports_has_no_way_back():
    order = [room for room in MAY_IMPORT if room != "__init__"]
    for place, room in enumerate(order):
        assert MAY_IMPORT[room] - {"__init__"} <= set(order[:place]), room


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_heavy_is_imported_by_what_does_not_need_it(path):
    found = list(imports_of(ast.parse(path.read_text())))
    at_head = {module.partition(".")[0] for module, runs in found if runs}
    anywhere = {module.partition(".")[0] for module, _ in found}
    room = room_of_path(path)

    assert not at_head & NOT_AT_IMPORT.get(room, set())
    assert not anywhere & (NEVER.get(room, set()) | NOWHERE)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_one_module_reaches_below_the_dataframe(path):
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}

    if name_of(path) != "runs/classic.py":
        assert not names & {"sparkContext", "_sc", "rdd", "_jvm", "_jdf", "_jsc", "_jsparkSession"}


@pytest.mark.parametrize("path", [*MODULES, *sorted(ROOT.glob("jobs/*.py"))], ids=lambda path: path.name)
def test_nothing_is_printed_past_the_command_line(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    assert "print" not in [call.id for call in calls if isinstance(call, ast.Name)]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_short_enough_to_read(path):
    text = path.read_text()
    limit = LONGER.get(name_of(path), MAX_MODULE_LINES)
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {
        f.name: lines
        for f in functions
        if (lines := f.end_lineno - f.lineno + 1) > LONGER.get(f"{name_of(path)}:{f.name}", MAX_FUNCTION_LINES)
    }

    assert len(text.splitlines()) <= limit
    assert not long


def test_each_exception_to_the_lengths_is_still_one():
    for name, limit in LONGER.items():
        path, _, function = name.partition(":")
        tree = ast.parse((PACKAGE / path).read_text())
        lengths = {n.name: n.end_lineno - n.lineno + 1 for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)} | {
            "": len((PACKAGE / path).read_text().splitlines())
        }
        ordinary = MAX_FUNCTION_LINES if function else MAX_MODULE_LINES

        assert ordinary < lengths[function] <= limit, name


@pytest.mark.parametrize("path", sorted(ROOT.glob("jobs/*.py")), ids=lambda path: path.name)
def test_a_job_is_its_documentation_and_one_call(path):
    tree = ast.parse(path.read_text())

    assert "spark-submit jobs/" + path.name in ast.get_docstring(tree)
    assert {module for module, _ in imports_of(tree)} == {"spark_imgdedup.cli"}


@pytest.mark.parametrize("name", STEP_NAMES)
def test_a_job_says_of_its_step_what_the_step_says_of_itself(name):
    said = ast.get_docstring(ast.parse((ROOT / "jobs" / f"{name}.py").read_text()))
    step = STEP[name]

    assert said.splitlines()[0] == step.purpose
    assert all(each in said for each in (*step.reads, *step.tables, *step.artefacts))


@pytest.mark.parametrize("name", STEP_NAMES)
def test_what_a_step_does_is_a_function_of_its_name_that_gives_its_counts(name):
    if name != "report":
        assert WORK[name].__name__ == name
        assert WORK[name].__annotations__["return"] == STEP[name].counts.__name__


def run_python(code, **environment):
    """A fresh interpreter: this one has imported everything already."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "modules",
    [
        "spark_imgdedup",
        "spark_imgdedup.models",
        "spark_imgdedup.cli",
        "spark_imgdedup.datasource",
        "spark_imgdedup.kernels.pairwise, spark_imgdedup.kernels.kmeans, spark_imgdedup.files.copying.shard_writer",
    ],
)
def test_importing_it_imports_neither_spark_nor_a_model_nor_pandas(modules):
    code = f"import sys, {modules}; print(*{{name.partition('.')[0] for name in sys.modules}})"

    assert not set(run_python(code).split()) & (SPARK | HEAVY | {"pandas"})


# Neither model libraries nor their files are there; None in sys.modules makes an import fail.
DEDUP_WITHOUT_MODELS = """
import sys
for name in ("torch", "torchvision", "open_clip", "timm", "onnxruntime"):
    sys.modules[name] = None
from pathlib import Path
from pyspark.sql import SparkSession
from spark_imgdedup import run
from spark_imgdedup.config import parse_config
from spark_imgdedup.runs.session import get_session

work = Path(sys.argv[1])
settings = {
    "work_dir": str(work / "work"),
    "cluster": {"embeddings_path": str(work / "mine"), "n_clusters": 2},
    "spark": {"spark.master": "local[1]", "spark.sql.shuffle.partitions": "1"},
}
config = parse_config(settings)
spark = get_session(config)
rows = [(i, [float(i % 3), 1.0, float(i % 2)]) for i in range(9)]
spark.createDataFrame(rows, "id long, embedding array<float>").write.parquet(str(work / "mine"))
summary = run(config)
print(summary.read, summary.duplicates.count())
spark.stop()
"""


@pytest.mark.slow
@pytest.mark.spark
def test_the_dedup_half_runs_where_no_model_library_is_installed(tmp_path):
    # Three directions of six values: ids 6, 7 and 8 repeat 0, 1 and 2.
    said = run_python(
        f"import sys; sys.argv = ['x', {str(tmp_path)!r}]\n{DEDUP_WITHOUT_MODELS}", PYSPARK_PYTHON=sys.executable
    )

    assert said.split() == ["9", "3"]
