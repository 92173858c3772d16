"""docs/parity.md names tests, settings, defaults and commands that exist, and leaves out nothing of its sources."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import typer

from spark_imgdedup.cli import app
from spark_imgdedup.config import describe

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
DEFAULTS = {key: list(value) if isinstance(value, tuple) else value for key, value, _ in describe()}
SECTIONS = {key.partition(".")[0] for key in DEFAULTS if "." in key}
NAMED_TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", TEXT)))

# Every stage and parameter that the five pages name, those of the stages they use, and what comes out.
PARAMETERS = """
    Pipeline name verbose FilePartitioningStage file_paths files_per_partition blocksize file_extensions storage_options
    limit ImageReaderStage batch_size num_threads num_gpus_per_worker ImageEmbeddingStage model_dir
    model_inference_batch_size remove_image_data ConvertImageBatchToDocumentBatchStage fields ParquetWriter path
    write_kwargs mode SemanticDeduplicationWorkflow input_path output_path id_field embedding_field n_clusters eps
    metadata_fields which_to_keep distance_metric sim_metric ranking_strategy metadata_cols ascending random_seed
    random_state max_iter tol init n_init oversampling_factor fit_data_fraction max_samples_per_batch embedding_dim
    pairwise_batch_size input_filetype input_file_extensions read_kwargs cache_kwargs cache_path clear_output
    kmeans_executor pairwise_executor num_duplicates ImageWriterStage output_dir images_per_tar deterministic_name
    removal_parquets_dir duplicate_id_field num_workers_per_node ImageBatch ImageAestheticFilterStage score_threshold
    ImageNSFWFilterStage weights_path ClipWriterStage KMeansStage PairwiseStage IdentifyDuplicatesStage image_id
    pairwise_compute_dtype kmeans_embedding_output_dtype compute_dtype embedding_output_dtype
    embedding cosine_dist_to_cent l2_dist_to_cent max_id cosine_sim_score id aesthetic_score nsfw_score
"""
ROWS = [f"W{number}" for number in range(1, 23)] + [f"T{number}" for number in (*range(1, 8), *range(13, 25))]


def tables():
    """(header, row) of every table, each as a list of cells."""
    header: list[str] = []
    for line in TEXT.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            header = []
        elif not header:
            header = cells
        elif set("".join(cells)) > {"-"} or "".join(cells).strip("-:"):
            yield header, cells


def names_in(file):
    """The tests of a file as pytest names them: test_x, or TestY::test_x."""
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        yield from (prefix + each.name for each in inner if isinstance(each, ast.FunctionDef))


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED_TESTS}))
def test_every_test_that_the_page_names_exists(file):
    assert {name for where, name in NAMED_TESTS if where == file} <= set(names_in(file))


def test_every_row_is_whole_and_has_a_test_or_says_why_there_is_none():
    rows = list(tables())

    assert len(rows) > 130
    for header, cells in rows:
        assert len(cells) == len(header), cells
        assert "::test_" in cells[-1] or cells[0] == "T15, T16", cells
        assert all(cells[:2]), cells


def test_the_settings_of_the_page_exist_with_the_defaults_it_states():
    n_checked = 0
    for header, cells in tables():
        row = dict(zip(header, cells, strict=True))
        if "default here" not in row:
            continue
        setting = re.match(r"`([a-z_.]+)`(?= \||$|,)", row["here"])
        if row["default here"] == "-" or setting is None:
            assert row["default here"] == "-" or row["here"] == "report/report.json", cells
            continue
        default = DEFAULTS[setting[1]]
        shown = default if isinstance(default, str) else json.dumps(default)
        assert row["default here"] == f"`{shown}`", cells
        n_checked += 1

    assert n_checked > 60
    named = re.findall(r"`((\w+)\.[a-z_]+)`", TEXT)
    assert {name for name, section in named if section in SECTIONS} <= DEFAULTS.keys()


def test_the_commands_and_jobs_of_the_page_exist():
    commands = set(re.findall(r"`spark-imgdedup ([\w-]+)", TEXT))

    assert commands >= {"run", "eps", "sample", "identify", "remove", "report", "export", "fetch-model"}
    assert commands <= typer.main.get_command(app).commands.keys()
    assert all((ROOT / job).is_file() for job in re.findall(r"`(jobs/\w+\.py)`", TEXT))


def test_nothing_of_the_five_pages_is_left_out():
    theirs = re.findall(r"^#.*$", TEXT, re.MULTILINE) + [cells[0] for _, cells in tables()]
    words = set(re.findall(r"\w+", " ".join(theirs)))

    assert set(PARAMETERS.split()) - words == set()
    named = {each for _, cells in tables() for each in cells[0].split(", ")}
    assert set(ROWS) - named == set()
