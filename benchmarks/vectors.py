"""Unit vectors with known repeats, as Parquet of (id, embedding list<float>) in several files, and truth.parquet.

Topics: any two rows of a topic have a cosine of about 0.4, as encoders give them. Of every 48 rows one is planted at
each level: an exact copy of another row, or one at a cosine of exactly 0.99, 0.95 or 0.90 to it. Skewed: three tenths
of the rows are one vector but for noise, near-identical and never equal.

    python benchmarks/vectors.py --rows 500000 --dim 512 --out vectors [--kind topics|skewed] [--aside noise|rows]
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LEVELS = {"exact": 1.0, "0.99": 0.99, "0.95": 0.95, "0.90": 0.90}
PLANTED_SHARE = 1 / 48  # of the rows, for each level
N_TOPICS = 400
N_FILES = 8
CHUNK_ROWS = 25_000  # 50 MB at 512 numbers; what a file holds beside it stays on disk
CROWD_SHARE = 0.3
CROWD_NOISE = 0.02  # length of the noise on unit vectors: cosines of about 1 - noise²
EMBEDDINGS = "embeddings"  # folder of the Parquet files
TRUTH = "truth.parquet"
SCHEMA = pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32()))])


def unit(rows):
    """The same array, its rows made unit length in place."""
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def of_topics(n, topics, rng):
    """(n, D) unit rows around randomly chosen topics."""
    rows = unit(rng.standard_normal((n, topics.shape[1]), np.float32))
    rows *= np.float32(np.sqrt(0.6))
    rows += np.float32(np.sqrt(0.4)) * topics[rng.integers(0, len(topics), n)]
    return unit(rows)


def at_cosine(rows, aside, cosine):
    """For each unit row another at exactly that cosine to it, in the direction of the row of `aside`."""
    rows, aside = rows.astype(np.float64), aside.astype(np.float64)
    aside = unit(aside - np.einsum("nd,nd->n", aside, rows)[:, None] * rows)
    return (cosine * rows + np.sqrt(1 - cosine**2) * aside).astype(np.float32)


def topics_chunk(n, topics, rng, aside="noise"):
    """(n, D) rows, the last of them planted; and [(level, originals, copies)] as positions."""
    n_each = round(n * PLANTED_SHARE)
    n_base = n - n_each * len(LEVELS)
    rows = np.empty((n, topics.shape[1]), np.float32)
    rows[:n_base] = of_topics(n_base, topics, rng)
    planted = []
    for place, (level, cosine) in enumerate(LEVELS.items()):
        originals = np.arange(place * n_each, (place + 1) * n_each)
        copies = n_base + originals
        if level == "exact":
            rows[copies] = rows[originals]
        else:
            shape = (n_each, topics.shape[1])
            others = rows[rng.integers(0, n_base, n_each)] if aside == "rows" else rng.standard_normal(shape)
            rows[copies] = at_cosine(rows[originals], others, cosine)
        planted.append((level, originals, copies))
    return rows, planted


def skewed_chunk(n, crowd, topics, rng, length):
    """(n, D) rows of which CROWD_SHARE lie around `crowd`, no two of them equal; nothing is planted."""
    n_crowd = round(n * CROWD_SHARE)
    noise = np.float32(length) * unit(rng.standard_normal((n_crowd, len(crowd)), np.float32))
    return np.concatenate([unit(crowd + noise), of_topics(n - n_crowd, topics, rng)]), []


def random_ids(n, rng):
    """(n,) hexadecimal strings of 16 digits, in no order."""
    text = rng.bytes(8 * n).hex()
    return np.array([text[start : start + 16] for start in range(0, len(text), 16)])


def to_table(ids, rows):
    """The columns id and embedding."""
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1])
    return pa.table([pa.array(ids), pa.ListArray.from_arrays(offsets, pa.array(rows.reshape(-1)))], schema=SCHEMA)


@dataclass(frozen=True)
class Recipe:
    """What is made: the same recipe gives the same files."""

    rows: int
    dim: int
    kind: str = "topics"  # or skewed
    aside: str = "noise"  # planted rows differ from their originals by it, or by the way to other rows
    topics: int = N_TOPICS
    noise: float = CROWD_NOISE
    seed: int = 0


def make(folder, recipe):
    """Write `folder`/embeddings/*.parquet and `folder`/truth.parquet (level, id, copy), unless they are there."""
    folder, made = Path(folder), Path(folder) / "made.json"
    if made.exists() and json.loads(made.read_text()) == asdict(recipe):
        return
    shutil.rmtree(folder, ignore_errors=True)
    (folder / EMBEDDINGS).mkdir(parents=True)
    rng = np.random.default_rng(recipe.seed)
    topics = unit(rng.standard_normal((recipe.topics, recipe.dim), np.float32))
    crowd = unit(rng.standard_normal((1, recipe.dim), np.float32))[0]
    truth = []
    for number, part in enumerate(np.array_split(np.arange(recipe.rows), N_FILES)):
        with pq.ParquetWriter(folder / EMBEDDINGS / f"{number:05d}.parquet", SCHEMA) as writer:
            for start in range(0, len(part), CHUNK_ROWS):
                n = min(CHUNK_ROWS, len(part) - start)
                if recipe.kind == "skewed":
                    rows, planted = skewed_chunk(n, crowd, topics, rng, recipe.noise)
                else:
                    rows, planted = topics_chunk(n, topics, rng, recipe.aside)
                ids, order = random_ids(n, rng), rng.permutation(n)
                writer.write_table(to_table(ids[order], rows[order]))
                truth += [
                    pa.table({"level": [level] * len(copies), "id": ids[originals], "copy": ids[copies]})
                    for level, originals, copies in planted
                ]
    if truth:
        pq.write_table(pa.concat_tables(truth), folder / TRUTH)
    made.write_text(json.dumps(asdict(recipe)))


def read_matrix(folder):
    """The ids and the (N, D) float32 vectors of the Parquet files in `folder`."""
    ids, parts = [], []
    for path in sorted(Path(folder).glob("*.parquet")):
        table = pq.read_table(path, columns=["id", "embedding"])
        ids.append(table["id"].combine_chunks())
        flat = pc.list_flatten(table["embedding"]).to_numpy()
        parts.append(flat.reshape(len(table), -1))
    return pa.concat_arrays(ids), np.concatenate(parts)


def planted_found(folder, duplicates):
    """The share of the planted pairs of each level of which one row is in `duplicates` (a table with id)."""
    truth = pq.read_table(Path(folder) / TRUTH)
    gone = duplicates["id"].combine_chunks()
    hit = pc.or_(pc.is_in(truth["id"], gone), pc.is_in(truth["copy"], gone))
    return {
        level: round(float(np.mean(hit.filter(pc.equal(truth["level"], level)).to_numpy(zero_copy_only=False))), 5)
        for level in LEVELS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kind", choices=["topics", "skewed"], default="topics")
    parser.add_argument(
        "--aside",
        choices=["noise", "rows"],
        default="noise",
        help="how planted rows differ: by noise, or by the way to other rows, which crosses more borders",
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    make(given.out, Recipe(given.rows, given.dim, given.kind, given.aside))


if __name__ == "__main__":
    main()
