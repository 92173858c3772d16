"""The Databricks bundle: its tasks are jobs of ours with settings that are valid, and its names fit each other.

A workspace is the one thing that is missing here; the slow test holds the jobs against Databricks' own models of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from spark_imgdedup.config import STEP_NAMES, load_config

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = yaml.safe_load((ROOT / "databricks.yml").read_text())
FILES = sorted(path for pattern in BUNDLE["include"] for path in ROOT.glob(pattern))
JOBS = {
    name: (file, job) for file in FILES for name, job in yaml.safe_load(file.read_text())["resources"]["jobs"].items()
}
# What the command line fills in by itself.
GIVEN = {"bundle.name": BUNDLE["bundle"]["name"], "bundle.target": "dev", "workspace.file_path": str(ROOT)}

each_job = pytest.mark.parametrize("name", JOBS)


def filled(text):
    """A string with the defaults of the bundle's variables in place of ${…}, as `databricks bundle deploy` has it."""
    values = GIVEN | {f"var.{name}": variable["default"] for name, variable in BUNDLE["variables"].items()}
    return re.sub(r"\$\{([^}]+)\}", lambda found: str(values[found[1]]), text)


def arguments(job, **changed):
    """task -> what its job of ours is called with when the job is run with its parameters' defaults."""
    values = {each["name"]: filled(each["default"]) for each in job["parameters"]} | changed
    return {
        task["task_key"]: [
            re.sub(r"\{\{job\.parameters\.(\w+)\}\}", lambda found: values[found[1]], filled(argument))
            for argument in task["spark_python_task"]["parameters"]
        ]
        for task in job["tasks"]
    }


def settings(words):
    """The configuration that --config FILE and --set X=Y give."""
    pairs = dict(enumerate(zip(words[::2], words[1::2], strict=True)))
    files = [value for flag, value in pairs.values() if flag == "--config"]
    overrides = [value for flag, value in pairs.values() if flag == "--set"]
    assert len(files) + len(overrides) == len(pairs)
    return load_config(*files, overrides)


def test_the_jobs_are_those_of_the_guide():
    assert list(JOBS) == ["dedup_embeddings", "dedup_images"]


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("dedup_images", ["embed", "cluster", "pairwise", "identify", "remove", "report"]),
        ("dedup_embeddings", ["cluster", "pairwise", "identify", "remove", "report"]),
    ],
)
def test_there_is_one_task_for_each_step_and_each_waits_for_the_one_before(name, steps):
    file, job = JOBS[name]

    assert [task["task_key"] for task in job["tasks"]] == steps == [step for step in STEP_NAMES if step in steps]
    assert [[each["task_key"] for each in task.get("depends_on", [])] for task in job["tasks"]] == [
        [],
        *([step] for step in steps[:-1]),
    ]
    for task in job["tasks"]:
        python_file = (file.parent / task["spark_python_task"]["python_file"]).resolve()
        assert python_file == ROOT / "jobs" / f"{task['task_key']}.py"
        assert f'run_job("{task["task_key"]}")' in python_file.read_text()


@each_job
def test_the_parameters_of_the_tasks_are_valid_settings(name):
    for words in arguments(JOBS[name][1]).values():
        config = settings(words)

        assert config.input.path == "/Volumes/main/dedup/images/shards"
        assert config.work_dir == "/Volumes/main/dedup/images/work"
        assert config.output.path == "/Volumes/main/dedup/images/deduplicated"
        assert (config.tables.catalog, config.tables.schema_name, config.table.format) == ("main", "dedup", "delta")
        assert config.identify.eps is None
        assert not config.own_embeddings


def test_a_run_may_change_eps_and_bring_its_own_embeddings():
    changed = {"eps": "0.05", "embeddings_path": "/Volumes/main/clips/embeddings"}
    (config,) = {settings(words).identify.eps for words in arguments(JOBS["dedup_images"][1], **changed).values()}
    own = settings(arguments(JOBS["dedup_embeddings"][1], **changed)["cluster"])

    assert config == 0.05
    assert own.cluster.embeddings_path == "/Volumes/main/clips/embeddings"


def test_gpus_are_taken_for_the_steps_that_have_use_for_one_and_one_task_has_one():
    _, job = JOBS["dedup_images"]
    clusters = {each["job_cluster_key"]: each["new_cluster"] for each in job["job_clusters"]}

    assert {task["task_key"] for task in job["tasks"] if task["job_cluster_key"] == "gpu"} == {
        "embed",
        "cluster",
        "pairwise",
    }
    assert {task["job_cluster_key"] for task in job["tasks"]} == clusters.keys()
    assert "-gpu-ml-" in filled(clusters["gpu"]["spark_version"])
    assert clusters["gpu"]["spark_conf"] == {"spark.task.resource.gpu.amount": "1"}
    assert {cluster["data_security_mode"] for cluster in clusters.values()} == {"SINGLE_USER"}


def test_the_serverless_job_names_an_environment_and_no_cluster():
    _, job = JOBS["dedup_embeddings"]

    assert {task["environment_key"] for task in job["tasks"]} == {
        each["environment_key"] for each in job["environments"]
    }
    assert not any({"job_cluster_key", "libraries"} & task.keys() for task in job["tasks"])


def test_every_variable_that_is_declared_is_used_and_the_other_way_round():
    text = "\n".join(path.read_text() for path in (ROOT / "databricks.yml", *FILES))

    assert set(re.findall(r"\$\{var\.(\w+)\}", text)) == BUNDLE["variables"].keys()
    for _, job in JOBS.values():
        used = re.findall(r"job\.parameters\.(\w+)", json.dumps(job["tasks"]))
        assert set(used) == {each["name"] for each in job["parameters"]}


def test_what_the_bundle_takes_along_is_there():
    for folder in BUNDLE["sync"]["paths"]:
        assert (ROOT / folder).is_dir()
    for file, _ in JOBS.values():
        for wheel in re.findall(r"\S+\.whl", file.read_text()):
            assert (file.parent / wheel).resolve().parent == ROOT / "dist"
        for requirements in re.findall(r"\S+\.txt", file.read_text()):
            assert Path(filled(requirements)).is_file()


def test_the_gpu_clusters_libraries_are_what_the_extra_asks_for():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = (ROOT / "conf/databricks/requirements-gpu.txt").read_text().splitlines()
    names = [line for line in lines if not line.startswith("#")]

    assert set(extras["clip"]) - set(names) == {
        line
        for line in extras["clip"]
        if line.startswith("torch")  # comes with the machine learning runtime
    }
    assert set(names) <= set(extras["clip"])


CHECK = """
import json, sys
from databricks.bundles.jobs import Job
for name, job in json.load(sys.stdin).items():
    checked = Job.from_dict(job)  # refuses fields and values that Databricks does not have
    assert checked.as_dict() == job, (name, checked.as_dict())
    print(name, len(checked.tasks))
try:
    Job.from_dict({"tasks": [{"task_key": "a", "libarries": []}]})
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_databricks_own_models_take_the_jobs_whole(tmp_path):
    """An environment of its own: `databricks-bundles` from the package registry."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "databricks-bundles"],
        check=True,
        timeout=300,
    )
    jobs = {name: job for name, (_, job) in JOBS.items()}
    filled_in = json.loads(filled(json.dumps(jobs)))
    for job in filled_in["dedup_images"]["job_clusters"]:
        job["new_cluster"]["num_workers"] = int(job["new_cluster"]["num_workers"])

    done = subprocess.run(
        [python, "-c", CHECK], input=json.dumps(filled_in), capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "dedup_embeddings 5",
        "dedup_images 6",
        "Unexpected field 'libarries' for class Task",
    ]
