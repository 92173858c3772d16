"""The index of a folder of blocks: which rows of which file belong to a cluster. Written last. No Spark."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from spark_imgdedup.errors import SchemaError
from spark_imgdedup.files import storage, writing
from spark_imgdedup.files.blocks import BlockIndex
from spark_imgdedup.files.owning.names import require_inner

INDEX = "index.parquet"
_ABOUT = "spark_imgdedup"


def save_index(index: BlockIndex, options: storage.Options) -> None:
    """Write the index beside the files, and remove what is not of it: files of tasks that Spark has run twice."""
    files, clusters = np.nonzero(index.counts)
    order = np.lexsort((files, clusters))
    about = {"names": index.names, "n_clusters": index.n_clusters, "dim": index.dim, "dtype": index.dtype}
    files, clusters = files[order], clusters[order]
    rows = pa.table(
        {
            "cluster_id": pa.array(clusters, pa.int32()),
            "file": pa.array(files, pa.int32()),
            "n_rows": pa.array(index.counts[files, clusters], pa.int64()),
        },
        metadata={_ABOUT: json.dumps(about)},
    )
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    known = {storage.canonical(index.url(file)) for file in range(len(index.names))}
    for file in storage.list_files(index.folder, ".parquet", options):
        if file.url not in known:
            storage.delete(file.url, options)
    writing.write_bytes(storage.join(index.folder, INDEX), sink.getvalue().to_pybytes(), options)


def load_index(folder: str, options: storage.Options) -> BlockIndex:
    """The index of a folder of blocks.

    Raises:
        FileNotFoundError: there is none.
        SchemaError: it is cut off, or none of ours.
    """
    place = storage.join(folder, INDEX)
    with storage.open_read(place, options) as file:
        data = file.read()
    try:
        rows = pq.read_table(pa.BufferReader(data))
        about = json.loads(rows.schema.metadata[_ABOUT.encode()])
        counts = np.zeros((len(about["names"]), about["n_clusters"]), np.int64)
        counts[rows["file"].to_numpy(), rows["cluster_id"].to_numpy()] = rows["n_rows"].to_numpy()
        names = tuple(require_inner(name, place) for name in about["names"])
        return BlockIndex(folder, names, counts, about["dim"], about["dtype"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # Arrow's errors are some of them
        raise SchemaError(f"{place} is damaged. Run the step that writes it again, with --force.") from None
