"""What `spark-imgdedup eps` prints, line by line."""

from __future__ import annotations

import io
import json

from rich.console import Console

from spark_imgdedup.report.eps_table import print_survey, survey_as_json
from spark_imgdedup.stages.thresholds import Bin, EpsLevel, Pair, ScoreSurvey

SURVEY = ScoreSurvey(
    n_rows=2000,
    n_with_better=1600,
    levels=(
        EpsLevel(0.0, 1.0, 0, 0),
        EpsLevel(0.01, 0.99, 500, 500, (Pair("a/[red]1", "a/:smile:2", 0.995), Pair("a/3", "a/4", 0.99))),
        EpsLevel(0.123456, 0.876544, 1200, 700, (Pair(7, 8, 0.9),)),
    ),
    histogram=(
        Bin(1.0, None, 0),
        Bin(0.999, 1.0, 1200),
        Bin(0.995, 0.999, 0),
        Bin(0.0, 0.1, 1),
        Bin(None, 0.0, 399),
    ),
)
MARKS = {0.01: "identify.eps"}
PLAIN = """\
2,000 rows; 400 of them have no better-ranked row to resemble and always stay. A larger eps removes more.

     eps  score from  rows removed  of 2,000 rows  new rows
   0.000    1.000000             0          0.00%         0
   0.010    0.990000           500         25.00%       500  identify.eps
0.123456    0.876544         1,200         60.00%       700

cosine_sim_score of the other 1,600 rows (bins are narrower near 1)
 from  below   rows  of 1,600
0.999  1.000  1,200    75.00%  ##################################################
0.995  0.999      0     0.00%
0.000  0.100      1     0.06%  #
       0.000    399    24.94%  #################

Pairs that are new at each eps, drawn by a hash of their ids
     eps     shown     score  id        repeats (max_id)
   0.010  2 of 500  0.995000  a/[red]1  a/:smile:2
                    0.990000  a/3       a/4
0.123456  1 of 700  0.900000  7         8
"""


def printed(survey, **console):
    file = io.StringIO()
    print_survey(survey, MARKS, Console(file=file, **console))
    return file.getvalue()


def test_outside_of_a_terminal_it_is_plain_text_and_ids_are_as_they_are():
    assert printed(SURVEY, width=40) == PLAIN


def test_a_terminal_shows_the_same_with_solid_bars():
    shown = printed(SURVEY, width=110, force_terminal=True, color_system=None, legacy_windows=False)

    lines = [line.rstrip() for line in shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()]
    bars = {"##################################################": "█" * 50, "#################": "████████████████▋"}
    expected = PLAIN
    for plain, solid in bars.items():
        expected = expected.replace(plain, solid)
    assert [line for line in lines if "0.06%" not in line] == [
        line for line in expected.splitlines() if "0.06%" not in line
    ]


def test_no_line_is_wider_than_a_page_and_a_long_id_is_shown_whole():
    long = "crawl/" + "x" * 200
    survey = ScoreSurvey(1, 1, (EpsLevel(0.1, 0.9, 1, 1, (Pair(long, "b", 0.95),)),), (Bin(0.9, 1.0, 1),))

    for console in ({"width": 500}, {"width": 500, "force_terminal": True, "color_system": None}):
        shown = printed(survey, **console)
        assert max(len(line) for line in shown.splitlines()) <= 120
        assert shown.count("x") == 201  # those of the id, and that of max_id


def test_a_table_without_rows_is_printed_without_a_histogram():
    shown = printed(ScoreSurvey(0, 0, (EpsLevel(0.1, 0.9, 0, 0),), (Bin(None, None, 0),)))

    assert shown.splitlines()[-1].split() == ["0.100", "0.900000", "0", "0.00%", "0"]


def test_the_json_holds_the_same_numbers():
    found = json.loads(json.dumps(survey_as_json(SURVEY, MARKS)))

    assert (found["rows"], found["rows_with_better"]) == (2000, 1600)
    assert found["levels"][1] == {
        "eps": 0.01,
        "cosine_sim_score_from": 0.99,
        "rows_removed": 500,
        "share": 0.25,
        "rows_new": 500,
        "set_by": "identify.eps",
        "pairs": [
            {"id": "a/[red]1", "max_id": "a/:smile:2", "cosine_sim_score": 0.995},
            {"id": "a/3", "max_id": "a/4", "cosine_sim_score": 0.99},
        ],
    }
    assert found["levels"][2]["pairs"] == [{"id": 7, "max_id": 8, "cosine_sim_score": 0.9}]
    assert found["histogram"][0] == {"from": 1.0, "below": None, "rows": 0}
    assert sum(part["rows"] for part in found["histogram"]) == found["rows_with_better"]
