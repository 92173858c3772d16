"""Write the parts of the docs that the code already states: configuration.md, tables.md and commands.md in docs/.

python scripts/write_docs.py [--to docs]
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.cli import get_docs_for_click
from typer.main import get_command

from spark_imgdedup import schemas
from spark_imgdedup.cli import app
from spark_imgdedup.config import Config, ScorerConfig, Section, describe
from spark_imgdedup.models import Preprocess

NAME = "spark-imgdedup"
ROOT = Path(__file__).resolve().parents[1]
NOTICE = "<!-- Written by scripts/write_docs.py: change the code it reads, then run `make docs`. -->"

TABLES = {
    "embeddings": (
        "embed",
        "One row per sample, and one per damaged shard, whose key is null.",
        schemas.EMBEDDINGS.format(embedding="binary"),
    ),
    "hashes": (
        "detect",
        "As `embeddings`, from a pass without a model: only where those lack the hashes that are asked for.",
        schemas.HASHES,
    ),
    "copies": ("detect", "One row per image that repeats another one's bytes or pixels.", schemas.COPIES),
    "near_hashes": (
        "detect",
        "One row per pair of distinct perceptual hashes within `detect.phash_radius` bits, whatever images have them.",
        schemas.NEAR_HASHES,
    ),
    "clusters": (
        "cluster",
        "One row per embedding. A vector that cannot be compared keeps its row: no cluster, and a reason. The vectors "
        "are in `work_dir/blocks`, Parquet files sorted by cluster that tasks read by themselves.",
        schemas.THIN_CLUSTERS.format(id="image_id string"),
    ),
    "similarities": (
        "pairwise",
        "One row per image that has a cluster, duplicates or not.",
        schemas.SIMILARITIES.format(id="image_id string", id_type="string"),
    ),
    "duplicates": (
        "identify",
        "One row per duplicate: the rows of `similarities` whose score reaches 1 - eps, and what hashes find.",
        schemas.DUPLICATES.format(id="image_id string", id_type="string"),
    ),
    "removed": ("remove", "One row per sample that leaves the dataset.", schemas.REMOVED),
    "kept": (
        "remove",
        "One row per sample that was written, and one per tar (`key` is null), where `output.format` is webdataset; "
        "where it is images, one row per file.",
        schemas.KEPT,
    ),
}
MEANINGS = {
    "image_id": "shard path below `input.root` and key, or the field that `input.id_field` names",
    "shard": "path of the tar below `input.root`, without `.tar`",
    "key": "the sample's key in its shard",
    "width": "pixels, after EXIF orientation",
    "height": "pixels, after EXIF orientation",
    "pixels": "width * height",
    "image_format": "jpeg, png, webp, …, by content and not by extension",
    "image_bytes": "size of the encoded image",
    "sha256": "of the encoded image",
    "pixel_sha256": "of the decoded pixels of all frames, transparency included; null unless `detect` asks for exact "
    "copies, and where the frames have more than `input.max_image_pixels` together",
    "phash": "perceptual hash of `detect.phash_bits` bits, without the borders; null unless `detect` asks for it",
    "phash_views": "hashes of the image turned as `detect.phash_views` says, one after the other, "
    "`detect.phash_bits` / 8 bytes each",
    "trimmed": "pixels of uniform border left out before hashing and embedding: left, top, right, bottom; null where "
    "there is none, see `input.trim_borders`",
    "detail": "how much there is to see without the borders, from 0 (one colour, a gradient) to 1; a photograph has "
    "0.1 to 0.8",
    "is_grey": "whether the image has no colour",
    "plain_pixels": "the image in 2497 bytes, where `detail` is below 0.035: such images are copies where these are "
    "near-equal, whatever their hashes and vectors are; else null",
    "group_size": "images with these bytes or pixels",
    "phash_a": "the lower of the two hashes",
    "phash_b": "the higher of the two hashes",
    "hamming": "bits in which the two hashes differ, in the orientation that fits best",
    "found_by": "what speaks for it: exact, embedding, phash, phash+embedding, pixels (of plain images), or chain, "
    "where only images between the two do",
    "kept_id": "an image that stays in its place",
    "rule": "`identify.rule`",
    "group_id": "the best-ranked image of those that hang together",
    "embedding": "unit vector, stored as `table.embedding_type` says",
    "rejected_because": "null, or why the row takes no further part: see [semantics](semantics.md#reasons)",
    "error": "the detail of the reason",
    "cluster_id": "number of the cluster",
    "cosine_dist_to_cent": "1 - cosine to the cluster's centroid, 6 decimals",
    "max_id": "the better-ranked image that it resembles most, of those it was compared with; itself if there is none; "
    "in `duplicates`, the image that it goes for",
    "cosine_sim_score": "the cosine to that image, 6 decimals; 0 if it ranks first, null where there are no vectors",
    "reason": "duplicate, listed (in `remove.ids_path`), or the `rejected_because` that made it leave",
    "tar": "the tar that holds it, below `output.path`; null for a file of its own",
    "bytes": "of the sample's members; of a tar, its size",
    "temporary": "where the tar, or the file, was written before it got its name",
    "n_samples": "samples in the tar",
    "n_cut": "samples that could not be copied because the input ends inside of them",
    "damage": "what was wrong with the input shards, one line each",
    "members": "extension to bytes, as they lay in the tar",
}
# Where the keys of a model within a section are listed on the page.
SETTINGS_OF = {"Preprocess": "embedpreprocess", "ScorerConfig": "scorescorers"}
PREPROCESS = {
    "size": "side of the square input, in pixels",
    "layout": "order of the input's axes after the batch",
    "dtype": "float32: pixels 0 to 1, then mean and std; uint8: pixels 0 to 255, the graph scales them itself",
    "mean": "subtracted, per channel",
    "std": "divided by, per channel",
    "resize": "crop: the shortest side to size / crop_pct, then the centre; squash: both sides",
    "interpolation": "filter of the resize",
    "crop_pct": "share of the resized image that the centre crop keeps",
}


def configuration() -> str:
    """docs/configuration.md."""
    lines = [
        NOTICE,
        "# Configuration",
        "",
        "A YAML file states what differs from the defaults; `--set section.key=value` goes on top of it, where the "
        "value is YAML. An unknown key or a value out of range ends the run before any work, with a line for each "
        "mistake. `spark-imgdedup config` prints these settings as a file to start from.",
    ]
    schema = Config.model_json_schema()
    rows: dict[str, list[str]] = {}
    for name, default, meaning in describe():
        section, _, key = name.rpartition(".")
        kind = _kind(_property(schema, section, key), schema)
        rows.setdefault(section, []).append(f"| `{key}` | {kind} | {_value(default)} | {_cell(meaning)} |")
    lines += ["", "## Top level", "", *_header(), *rows.pop("")]
    for section, listed in rows.items():
        model = type(Config.model_fields[section].default)
        assert issubclass(model, Section)
        about = (model.__doc__ or "").splitlines()[0]
        lines += ["", f"## {section}", "", about, "", *_header(), *listed]
    lines += [
        "",
        "## embed.preprocess",
        "",
        "What an `onnx:` or `torchscript:` model takes. Other models bring their own.",
        "",
        *_header(),
    ]
    lines += _inner(Preprocess, PREPROCESS)
    lines += ["", "## score.scorers", "", f"{(ScorerConfig.__doc__ or '').splitlines()[0]}", "", *_header()]
    lines += _inner(ScorerConfig, {key: field.description or "" for key, field in ScorerConfig.model_fields.items()})
    return "\n".join(lines) + "\n"


def _inner(model: type[BaseModel], meanings: dict[str, str]) -> Iterator[str]:
    schema = model.model_json_schema()
    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else _value(field.default)
        yield f"| `{key}` | {_kind(schema['properties'][key], schema)} | {default} | {_cell(meanings[key])} |"


def tables() -> str:
    """docs/tables.md."""
    lines = [
        NOTICE,
        "# Tables",
        "",
        "Each step writes tables below `work_dir`, as `table.format` says (Parquet or Delta). A table is finished when "
        "`work_dir/_steps/<step>.json` is there; that record also holds the step's counts, the columns of its tables "
        "and the fingerprint of what "
        "the table was made from. With embeddings of your own, the id column of `clusters`, `similarities` and "
        "`duplicates` has your name and type (`cluster.id_field`), and `max_id` has the same type. The columns of "
        "`cluster.metadata_columns` follow in these three with their own types, and, where exact copies collapse "
        "first, `dup_count`: how many copies a row stands for. The fields of `input.json_fields` are columns of "
        "`embeddings`, and so is `<name>_score` of each of `embed.pixel_scorers`.",
        "",
        "`scored`, written by `score`, has all rows and columns of `embeddings`, and a column `<name>_score` (double) "
        "for each head and scorer; `rejected_because` says which filter rejects a row.",
    ]
    for name, (step, about, columns) in TABLES.items():
        lines += ["", f"## {name}", "", f"Written by `{step}`. {about}", "", *_columns(columns)]
    lines += [
        "",
        "## Beside the tables",
        "",
        "| path | what it is |",
        "|---|---|",
        "| `centroids/array.npy`, `manifest.json` | (K, D) float32 unit centroids, with their shape and SHA-256 |",
        "| `report/report.json` | the summary of the run and the record of each step |",
        "| `report/index.html` | the same as [a page](guide-review.md#the-page), with pairs to look at |",
        "| `config.yaml` | the settings of the last run, with `eps` resolved and secrets hidden |",
        "| `restored.jsonl` | the samples that [`restore`](guide-removal.md#bring-something-back) has brought back: "
        "`image_id`, and the `reason` for which each was removed |",
        "| `decisions.jsonl` | what people have decided of pairs: `spark-imgdedup review import` writes it |",
        "| `index` | `image_id`, `shard`, `key` of every sample, with `remove.match_field` also `match_id`; where no "
        "other table has them |",
        "",
        "## The new dataset",
        "",
        "With `output.format: parquet` or `delta`, samples from tars become rows; a table keeps its own columns.",
        "",
        *_columns(schemas.MEMBERS),
        "",
        "With `webdataset` it is tars and a manifest, `_spark_imgdedup.json`: where it came from, whether it is "
        "complete, and the names of the files that belong to it.",
    ]
    return "\n".join(lines) + "\n"


def commands() -> str:
    """docs/commands.md."""
    group = get_command(app)
    context = typer.Context(group, info_name=NAME)
    page = get_docs_for_click(obj=group, ctx=context, name=NAME)
    # Its list of commands cuts each summary off; the headings below are the list.
    page = re.sub(r"\*\*Commands\*\*:\n\n(?:\* [^\n]*\n)+\n", "", page)
    # GitHub and Sphinx make other anchors of code in headings, and `$` is not what one types.
    page = re.sub(r"^(#+) `(.*)`$", r"\1 \2", page, flags=re.MULTILINE).replace("$ spark-imgdedup", "spark-imgdedup")
    return f"{NOTICE}\n{page.replace(f'# {NAME}', '# Commands', 1).strip()}\n"


def _columns(schema: str) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for column in re.split(r", (?![^<]*>)", schema):
        name, kind = column.split(" ", 1)
        yield f"| `{name}` | {kind} | {MEANINGS[name]} |"


def _header() -> list[str]:
    return ["| key | values | default | meaning |", "|---|---|---|---|"]


def _property(schema: dict[str, Any], section: str, key: str) -> dict[str, Any]:
    if section:
        schema = schema["$defs"][type(Config.model_fields[section].default).__name__]
    found: dict[str, Any] = schema["properties"][key]
    return found


def _kind(prop: dict[str, Any], schema: dict[str, Any]) -> str:
    """The values that a JSON schema allows, in a few words."""
    if "anyOf" in prop:
        return " or ".join(dict.fromkeys(_kind(option, schema) for option in prop["anyOf"]))
    if "enum" in prop or "const" in prop:
        return ", ".join(f"`{value}`" for value in prop.get("enum", [prop.get("const")]))
    if prop.get("type") == "array":
        inner = prop.get("items") or prop["prefixItems"][0]
        return f"list of {_kind(inner, schema)}"
    if "$ref" in prop:
        return f"[settings](#{SETTINGS_OF[prop['$ref'].rpartition('/')[2]]})"
    words = {
        **{"string": "text", "integer": "whole number", "number": "number", "null": "null", "object": "mapping"},
        "boolean": "true or false",
    }
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = " and ".join(f"{sign} {prop[name]:g}" for name, sign in bounds.items() if name in prop)
    return f"{words[prop['type']]} {limits}".strip()


def _value(default: Any) -> str:
    plain = list(default) if isinstance(default, tuple) else default
    text = json.dumps(plain)
    return f"`{plain}`" if isinstance(plain, str) else f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="folder of the pages")
    folder: Path = parser.parse_args().to
    pages = {"configuration.md": configuration(), "tables.md": tables(), "commands.md": commands()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
