"""Both ways of finding components against scipy's, on chains, stars, cliques and random graphs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from spark_imgdedup.stages.grouping.components import label_by_stars, label_in_one_task
from spark_imgdedup.stages.local_rows import local_rows

# Graphs are labelled together, in as many rounds as the one that takes most: each has numbers of its own.
APART = 10**14


def graphs():
    rng = np.random.default_rng(0)
    chain = np.stack([np.arange(999), np.arange(1, 1000)], axis=1)
    mixed = rng.permutation(1000)
    star = np.stack([np.full(300, 7), np.delete(np.arange(301), 7)], axis=1)
    clique = np.argwhere(np.triu(np.ones((40, 40)), 1))
    random = rng.integers(0, 2000, (1200, 2))
    random = random[random[:, 0] != random[:, 1]]
    return {
        "a chain": chain,
        "a chain of mixed numbers": mixed[chain],
        "a star": star,
        "cliques": np.concatenate([clique, clique + 10**12]),
        "random": random,
        "doubled": np.concatenate([random, random[:, ::-1]]),
    }


GRAPHS = {name: edges + place * APART for place, (name, edges) in enumerate(graphs().items())}
WAYS = {"one task": lambda edges, store: label_in_one_task(edges), "stars": label_by_stars}


@pytest.fixture
def label(spark, tmp_path):
    """Gives the rows of what a way makes of pairs, and how often it has stored something."""

    def run(way, pairs):
        edges = local_rows(spark, pairs.tolist(), "one bigint, other bigint").repartition(3)
        stored = []

        def store(df):
            stored.append(str(tmp_path / str(len(stored))))
            df.write.parquet(stored[-1])
            return spark.read.schema(df.schema).parquet(stored[-1])

        return WAYS[way](edges, store).collect(), len(stored)

    return run


@pytest.fixture(scope="module")
def labelled():
    """What each way has made of all graphs."""
    return {}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("way", WAYS)
def test_each_node_gets_the_lowest_of_its_component_and_its_size(label, labelled, way, name):
    if way not in labelled:
        labelled[way] = label(way, np.concatenate(list(GRAPHS.values())))
    told, n_stored = labelled[way]

    place = list(GRAPHS).index(name)
    rows = [row for row in told if row["node"] // APART == place]

    pairs = GRAPHS[name]
    nodes, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    graph = coo_array((np.ones(len(places)), (places[:, 0], places[:, 1])), shape=(len(nodes), len(nodes)))
    numbers = connected_components(graph, directed=False)[1]
    expected = {}
    for number in set(numbers.tolist()):
        members = nodes[numbers == number].tolist()
        expected |= {node: (min(members), len(members)) for node in members}
    assert {row["node"]: (row["label"], row["size"]) for row in rows} == expected
    assert len(rows) == len(expected)
    assert n_stored <= 20  # of a chain of 1,000


@pytest.mark.parametrize("way", WAYS)
def test_without_edges_there_are_no_labels(label, way):
    assert label(way, np.zeros((0, 2), np.int64))[0] == []
