from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_imgdedup.files.tars.member_names import escaped, unescaped
from spark_imgdedup.files.tars.shards import split_name

names = st.text(st.sampled_from("\\udc9fe8a.é\udcff\udce9/"), max_size=16)


@settings(max_examples=300)
@given(names)
def test_a_name_comes_back_from_its_escape(name):
    text = escaped(name)

    text.encode()  # a table can hold it
    assert unescaped(text) == name


@settings(max_examples=200)
@given(names, names)
def test_two_names_never_have_one_escape(one, other):
    assert (escaped(one) == escaped(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a/b c.é", "a/b c.é"),
        ("c:\\w\\in", "c:\\w\\in"),
        ("caf\udce9", "caf\\udce9"),
        ("caf\\udce9", "caf\\\\udce9"),
        ("\\\udce9", "\\\\\\udce9"),
        ("\\unicode", "\\unicode"),
    ],
)
def test_only_what_would_be_taken_for_an_escape_changes(name, text):
    assert escaped(name) == text


def test_a_key_that_spells_the_escape_of_another_is_another_key():
    assert split_name("\udcff.jpg") != split_name("\\udcff.jpg")
