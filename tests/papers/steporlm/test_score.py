"""`reprise score`: a file of answers, whole and broken, through the command line."""

import json

import pytest
from click.testing import CliRunner

from common.study.cli import cli
from common.study.errors import StudyError


def files(folder, answers):
    questions = [{"en_question": f"question {place}", "en_answer": str(place)} for place in range(8)]
    questions[1]["en_answer"] = "No Best Solution"
    benchmark, given = folder / "bench.jsonl", folder / "answers.json"
    benchmark.write_text("\n".join(map(json.dumps, questions)))
    given.write_text(json.dumps([{"answer": answer} for answer in answers]))
    return ["--benchmark", str(benchmark), "--answers", str(given)]


def run(*arguments):
    return CliRunner().invoke(cli, ["score", *arguments], standalone_mode=False)


def test_answers_are_counted_and_the_first_wrong_ones_named(tmp_path):
    done = run("steporlm", *files(tmp_path, [0, 0, 2.0000001, "3", None, 6, 5, 8]))
    first, *wrong = done.output.splitlines()
    assert first.startswith("37.5% [")
    assert first.endswith("of 8 questions: 3 right, 4 wrong, 1 not given")
    assert wrong == [
        "line 2: 0, published no best solution",
        "line 6: 6, published 5",
        "line 7: 5, published 6",
        "line 8: 8, published 7",
    ]


def test_many_wrong_answers_are_cut(tmp_path):
    assert run("steporlm", *files(tmp_path, [99] * 8)).output.splitlines()[-1] == "and 3 more"


@pytest.mark.parametrize(("answers", "message"), [([1], "1 answers to 8 questions"), (["x"] * 8, "Fix:")])
def test_a_malformed_file_says_what_to_do(tmp_path, answers, message):
    done = run("steporlm", *files(tmp_path, answers))
    assert isinstance(done.exception, StudyError)
    assert message in str(done.exception)


def test_a_paper_without_a_benchmark_names_those_with_one(tmp_path):
    done = run("qae", *files(tmp_path, [1]))
    assert "papers that do: rest, steporlm" in str(done.exception)
