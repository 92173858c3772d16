"""No chain of rule semdedup ends at an image that one of its rows was called different from."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spark_imgdedup.stages.grouping.chains import cut_nodes


def last_of(node, above):
    while node in above:
        node = above[node]
    return node


@given(st.data())
def test_a_row_stays_only_where_it_was_called_different_from_the_end_of_its_chain(data):
    n = data.draw(st.integers(2, 30))
    above = {node: data.draw(st.integers(0, node - 1)) for node in range(1, n) if data.draw(st.booleans())}
    names = np.array(data.draw(st.permutations(range(n)))) * 10  # hashes say nothing of the order
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=20))
    pairs = [pair for pair in pairs if pair[0] != pair[1]] + [(n, 0)]  # the last is of no row here
    named = [(names[one] if one < n else 5, names[other]) for one, other in pairs]

    cut = cut_nodes(names[list(above)], names[list(above.values())], np.array(named, np.int64))

    stays = {int(np.flatnonzero(names == each)[0]) for each in cut}
    left = {node: up for node, up in above.items() if node not in stays}
    different = {frozenset(pair) for pair in pairs}
    assert stays <= set(above)
    assert not {frozenset((node, last_of(node, left))) for node in left} & different
    for node in stays:  # with its own link back it would end at one that it is different from
        assert frozenset((node, last_of(node, left | {node: above[node]}))) in different


def test_what_leads_to_a_row_that_stays_goes_for_it():
    child, parent = np.array([1, 2, 3]), np.array([0, 1, 2])

    assert cut_nodes(child, parent, np.array([[0, 2]])).tolist() == [2]
    assert cut_nodes(child, parent, np.array([[0, 2], [2, 3]])).tolist() == [2, 3]
    assert cut_nodes(child, parent, np.array([[7, 8]])).tolist() == []
    assert cut_nodes(child[:0], parent[:0], np.array([[7, 8]])).tolist() == []
