"""The complete workflow in stage order: embed, find duplicates, inspect them, remove them, compare the datasets.

    python examples/complete_workflow.py
    python examples/complete_workflow.py --input data/photos --out work/photos

A page to copy from. `spark-imgdedup run` does the same steps in one command, without the inspection.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spark_imgdedup import Config, ImgDedupError, Result, run, sample

SAMPLE_SHARDS = Path(__file__).parent / "shards"


def run_workflow(input_dir: str, out: str) -> None:
    """Deduplicate the tars below `input_dir`; tables, a sample to review and the new dataset go below `out`."""
    config = Config(
        input={"path": input_dir},
        work_dir=f"{out}/work",
        embed={"model": "efficientnet-lite0", "batch_size": 32},
        cluster={"n_clusters": "auto"},
        pairwise={"which_to_keep": "best"},  # more pixels, more bytes, colour before grey
        identify={"eps": "auto"},  # the encoder's preset; lower is stricter
        output={"path": f"{out}/deduplicated"},
    )

    print("Step 1: Generating embeddings...")
    run(config, steps=["embed"])

    print("Step 2: Finding duplicates...")
    result = run(config, steps=["cluster", "pairwise", "identify"])

    print("Step 3: Inspecting them...")
    inspect_duplicates(result, config, review=f"{out}/review")

    print("Step 4: Removing duplicate images...")
    result = run(config, steps=["remove", "report"])

    summary = result.summary
    n_read, n_kept = summary.read or 0, summary.kept or 0
    reasons = ", ".join(f"{reason} {n}" for reason, n in {**summary.removed, "cut off": summary.cut}.items() if n)
    print(f"Original dataset: {n_read} samples in {count_tars(input_dir)} tar files")
    print(f"Deduplicated dataset: {n_kept} samples in {count_tars(f'{out}/deduplicated')} tar files")
    print(f"Reduction: {n_read - n_kept} samples ({1 - n_kept / max(n_read, 1):.1%}): {reasons or 'nothing'}")
    print(f"Deduplication complete! Results saved to: {out}/deduplicated\n")
    print("\n".join(result.lines()))


def inspect_duplicates(result: Result, config: Config, review: str) -> None:
    """Print what will be removed, and export some of it beside what it repeats."""
    duplicates = result.duplicates.orderBy("image_id").collect()
    ids = [row["image_id"] for row in duplicates]
    print(f"Total images marked for removal: {len(ids)}")
    print(f"Unique images marked for removal: {len(set(ids))}")
    print(f"Sample removed image IDs: {ids[:10]}")
    for row in duplicates[:3]:
        print(f"  {row['image_id']} goes for {row['kept_id']}, cosine {row['cosine_sim_score']:.6f}")

    if Path(review).exists():
        print(f"{review} is there already; remove it to draw a sample anew")
    else:
        print("\n".join(sample(config, to=review, n=10)))


def count_tars(folder: str) -> int:
    """Tars below a local folder."""
    return sum(1 for _ in Path(folder).rglob("*.tar"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the arguments and run; what the user can mend is one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input", default=str(SAMPLE_SHARDS), help="folder of WebDataset tars")
    parser.add_argument("--out", default="work/complete-workflow", help="folder for tables, review and the new dataset")
    options = parser.parse_args(arguments)
    try:
        run_workflow(options.input, options.out)
    except ImgDedupError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
