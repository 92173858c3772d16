"""The docs say what the code does: their commands run, their settings exist, their links lead somewhere."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image

import spark_imgdedup
from spark_imgdedup.cli import app
from spark_imgdedup.config import describe, load_config
from spark_imgdedup.models import EncoderSettings, load_encoder
from spark_imgdedup.report.truth import score_run

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda page: page.relative_to(ROOT).as_posix(),
)
README = ROOT / "README.md"
HOSTS = {
    "arxiv.org",
    "commons.wikimedia.org",
    "creativecommons.org",
    "keepachangelog.com",
    "semver.org",
    "www.flickr.com",
}
FOLDERS_OF_A_MACHINE = re.compile(r"(?<![\w.<>)}*-])/(?:work|tmp|root|home|Users)/")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page, *programs):
    """The command lines of a page, split as a shell splits them."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True)) and words[0] in programs]


def submissions(page):
    """The job and its arguments of each spark-submit of a page, whatever options of Spark's stand before it."""
    for words in commands(page, "spark-submit"):
        place = next((place for place, word in enumerate(words) if word.endswith(".py")), None)
        assert place is not None, f"no job in {' '.join(words)}"
        yield words[place:]


def named_files(page, language, folder):
    """Write the blocks whose first line is a comment with a file name, and say which."""
    written = []
    for block in blocks(page, language):
        name = re.match(r"# ([\w.-]+)\n", block)
        if name:
            (folder / name[1]).write_text(block, encoding="utf-8")
            written.append(folder / name[1])
    return written


def parse(arguments):
    """A command of the command line as typer understands it, without running it."""
    name, *rest = arguments
    group = typer.main.get_command(app)
    assert name in group.commands, f"there is no command spark-imgdedup {name}"
    command = group.commands[name]
    if rest and rest[0] in getattr(command, "commands", {}):
        name, *rest = rest
        command = command.commands[name]
    return command.make_context(name, rest)


# --- commands ---------------------------------------------------------------------------------------------------------


@each_page
def test_every_command_of_the_docs_is_one_that_exists_with_settings_that_are_valid(page, tmp_path):
    files = {file.name: str(file) for file in named_files(page, "yaml", tmp_path)}
    submitted = [
        ["spark-imgdedup", {"dedup": "run"}.get(stem := Path(job).stem, stem.replace("_", "-")), *rest]
        for job, *rest in submissions(page)
    ]
    for words in commands(page, "spark-imgdedup") + submitted:
        given = parse(words[1:]).params
        config = given.get("config")
        load_config(files.get(config, str(ROOT / config)) if config else None, given.get("set_") or ())


@each_page
def test_every_spark_submit_names_a_job_of_the_repository(page):
    for job, *_ in submissions(page):
        assert (ROOT / job).is_file(), job


@each_page
def test_every_script_of_the_docs_exists(page):
    lines = "\n".join(blocks(page, "bash"))
    for name in re.findall(r"\bscripts/\w+\.(?:sh|py)\b", lines):
        assert (ROOT / name).is_file(), name


@each_page
def test_every_make_target_of_the_docs_exists(page):
    for words in commands(page, "make"):
        done = subprocess.run([*words, "-n"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@each_page
def test_every_extra_that_the_docs_install_exists(page):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in commands(page, "pip"):
        assert words[1] == "install"
        for named in re.findall(r"\[(.*?)\]", " ".join(words)):
            assert set(named.split(",")) <= extras.keys()


# --- README, run ------------------------------------------------------------------------------------------------------

RUN_ALL = """
import json, shutil, sys
from spark_imgdedup.cli import main
for number, arguments in enumerate(json.loads(sys.argv[1])):
    print(f"--- {number}", flush=True)
    try:
        main(arguments)
    except SystemExit as stop:
        if stop.code:
            raise
    if number == 0:
        shutil.copytree("work/dedup", "first")
print("--- python", flush=True)
for block in json.loads(sys.argv[2]):
    names = {}
    exec(block, names)
print(names["images"].count(), names["kept"].count(), names["duplicates"].count())
"""


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """Every command and the Python of the README, one after the other, as a user in an empty folder has them."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("examples", "jobs", "conf"):
        (folder / name).symlink_to(ROOT / name)
    named_files(README, "yaml", folder)
    lines = [words[1:] for words in commands(README, "spark-imgdedup")]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(lines), json.dumps(blocks(README, "python"))],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = dict(
        zip(
            re.findall(r"^--- (\w+)$", done.stdout, re.MULTILINE),
            re.split(r"^--- \w+$", done.stdout, flags=re.MULTILINE)[1:],
            strict=True,
        )
    )
    return folder, lines, said, done.stderr


@pytest.mark.slow  # all commands of README, with sessions of their own
def test_the_readmes_result_is_what_the_sample_shards_give(readme):
    folder, lines, said, _ = readme
    assert lines[0] == ["run", "--config", "dedup.yaml"]
    rows = {
        name: pq.read_table(folder / "first" / name).to_pylist() for name in ("duplicates", "removed", "embeddings")
    }
    links = {row["image_id"]: row["max_id"] for row in rows["duplicates"]}
    removed = {row["image_id"]: links.get(row["image_id"]) for row in rows["removed"]}
    unusable = {row["image_id"] for row in rows["embeddings"] if row["rejected_because"] is not None}
    score = score_run(ROOT / "examples" / "shards" / "truth.csv", removed, unusable).lines()
    (shown,) = blocks(README, "text")
    printed = [*said["0"].splitlines(), *score]
    assert [line for line in shown.splitlines() if line and line not in printed] == []
    assert {line.split(":")[0] for line in score} <= {line.split(":")[0] for line in shown.splitlines()}
    assert not set(links.values()) & set(links)  # every removed image names one that stays


@pytest.mark.slow  # all commands of README, with sessions of their own
def test_a_second_run_has_nothing_left_to_do(readme):
    _, lines, _, log = readme
    repeated = lines.index(lines[2], 3)
    assert lines[2][0] == lines[repeated][0] == "run"
    assert len(re.findall(r"remove: unchanged", log)) >= 1
    assert log.count(" embed: Decode") == 1


@pytest.mark.slow  # all commands of README, with sessions of their own
def test_the_commands_of_the_readme_print_what_it_says(readme):
    folder, lines, said, _ = readme
    by_command = {words[0]: said[str(number)] for number, words in enumerate(lines)}
    assert "rows removed" in by_command["eps"]
    assert "at eps 0.1" in by_command["report"]
    assert "which_to_keep: auto" in by_command["config"]
    exported = pq.read_schema(next((folder / "embeddings-for-others").glob("*.parquet")))
    assert exported.names == ["image_id", "embedding"]


@pytest.mark.slow  # all commands of README, with sessions of their own
def test_the_python_of_the_readme_removes_the_duplicates_it_finds(readme):
    _, _, said, _ = readme
    images, kept, duplicates = map(int, said["python"].split())
    rows = csv.DictReader((ROOT / "examples" / "shards" / "truth.csv").read_text().splitlines())
    assert images == sum(row["shard"] == "photos-00000" for row in rows)
    assert kept == images - duplicates


TUTORIAL_PHOTOS = 24


@pytest.mark.slow
def test_the_tutorials_commands_lead_from_photographs_to_a_page(tmp_path):
    (shard,) = (ROOT / "examples" / "shards").glob("photos-00000.tar")
    with tarfile.open(shard) as tar:
        photos = [member for member in tar if member.name.endswith((".jpg", ".png", ".webp"))][:TUTORIAL_PHOTOS]
        tar.extractall(tmp_path / "photos", members=photos, filter="data")
    install, *runs = commands(ROOT / "docs" / "tutorial.md", "pip", "spark-imgdedup")
    assert (install[0], len(runs)) == ("pip", 2)
    for command in runs:
        done = subprocess.run(
            [sys.executable, "-m", "spark_imgdedup", *command[1:]],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "look at      " in done.stdout
    assert "embed: unchanged since the last run, skipped" in done.stderr
    kept = [path for path in (tmp_path / "photos-dedup/output").rglob("*") if path.suffix in (".jpg", ".png", ".webp")]
    assert f"kept         {len(kept)} samples in photos-dedup/output" in done.stdout
    assert (tmp_path / "photos-dedup/work/report/index.html").stat().st_size > 10_000


# --- examples in the pages --------------------------------------------------------------------------------------------


@each_page
def test_every_yaml_of_the_docs_is_a_valid_configuration(page, tmp_path):
    for block in blocks(page, "yaml"):
        (tmp_path / "config.yaml").write_text(block, encoding="utf-8")
        load_config(str(tmp_path / "config.yaml"))


@each_page
def test_every_python_example_compiles_and_imports_what_the_package_exports(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        for names in re.findall(r"from spark_imgdedup import ([\w, ]+)$", block, re.MULTILINE):
            assert set(names.split(", ")) <= set(spark_imgdedup.__all__)


def test_the_encoder_of_ones_own_in_the_docs_is_an_encoder(tmp_path, monkeypatch):
    (module,) = named_files(ROOT / "docs" / "encoders.md", "python", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_encoder(EncoderSettings(model=f"{module.stem}:Thumbnails"))
    picture = encoder.preprocess(Image.new("RGB", (40, 30), "red"))
    assert encoder.encode(np.stack([picture, picture])).shape == (2, encoder.dim)


@each_page
def test_every_setting_that_the_docs_name_exists(page):
    keys = {key for key, _, _ in describe()}
    sections = {key.partition(".")[0] for key in keys if "." in key}
    named = re.findall(r"`((\w+)\.[a-z_]+)(?:: [^`]*)?`", page.read_text(encoding="utf-8"))
    assert {
        name for name, section in named if section in sections and not name.endswith((".py", ".yaml", ".json"))
    } <= keys


# --- generated pages, links, names ------------------------------------------------------------------------------------


def test_the_generated_pages_are_up_to_date(tmp_path):
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "write_docs.py"), "--to", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    written = {page.name for page in tmp_path.iterdir()}
    assert written == {"configuration.md", "tables.md", "commands.md"}
    for page in written:
        assert (ROOT / "docs" / page).read_text() == (tmp_path / page).read_text(), f"run `make docs`: {page} is old"


def test_the_table_of_what_is_tested_is_that_of_the_markers(tmp_path):
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "write_matrix.py"), "--to", str(tmp_path / "README.md")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert README.read_text() == (tmp_path / "README.md").read_text(), "run `make docs`: README.md is old"


def test_every_marker_has_a_row_there_or_is_about_something_else():
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    rows = re.findall(r'marker="(\w+)"', (ROOT / "scripts" / "write_matrix.py").read_text())
    assert {line.partition(":")[0] for line in markers} == {*rows, "slow", "thorough", "gpu", "nsfw"}


@each_page
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in headings(file), f"{target}: no such heading"


def headings(page):
    """The anchors of a page, as Markdown viewers make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_test_that_a_page_names_exists(page):
    for path in re.findall(r"\btests/[\w/]+(?:\.py)?\b", page.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


@each_page
def test_no_page_names_a_folder_of_some_machine_or_an_unknown_host(page):
    text = page.read_text(encoding="utf-8")
    assert not FOLDERS_OF_A_MACHINE.findall(text)
    assert {host for host in re.findall(r"https?://([^/\s)>\]\"]+)", text)} <= HOSTS


def test_every_page_of_the_docs_is_linked_from_the_readme_or_from_a_page_that_is():
    reached, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / target).resolve() for target in targets if "://" not in target]
    assert set((ROOT / "docs").rglob("*.md")) <= reached
