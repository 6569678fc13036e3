"""Public benchmark files: read, scored without running anything, and faults in words."""

import json

import pytest

from common.tasks.toolcall.calls import Call, CallError
from common.tasks.toolcall.published import (
    Expected,
    FileError,
    Question,
    accepted,
    explain,
    load_answers,
    load_questions,
    python_calls,
    read_answer,
    score,
)

AREA = Expected("shape.area", {"base": (10,), "height": (5,), "unit": ("units", "")})
QUESTION = Question(1, "q_0", frozenset({"shape.area", "other"}), (AREA,))


@pytest.fixture
def bfcl(tmp_path):
    """Two questions in BFCL's layout."""
    (tmp_path / "possible_answer").mkdir()
    questions = [
        {
            "id": "q_0",
            "question": [[{"role": "user", "content": "How large?"}]],
            "function": [{"name": "area"}],
        },
        {"id": "q_1", "question": [[{"role": "user", "content": "Where?"}]], "function": [{"name": "city"}]},
    ]
    truths = [
        {"id": "q_0", "ground_truth": [{"area": {"base": [10], "unit": ["cm", ""]}}]},
        {"id": "q_1", "ground_truth": [{"city": {"name": ["New York", "NYC"]}}]},
    ]
    for folder, rows in ((tmp_path, questions), (tmp_path / "possible_answer", truths)):
        (folder / "BFCL_v4_toy.json").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "BFCL_v4_toy.json"


def test_calls_in_the_syntax_of_python_are_parsed():
    assert python_calls("shape.area(base=10, height=-5.5)") == [
        Call("shape.area", {"base": 10, "height": -5.5})
    ]
    assert python_calls('[f(a="x"), g(b=[1, {"c": True}])]') == [
        Call("f", {"a": "x"}),
        Call("g", {"b": [1, {"c": True}]}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch /tmp/owned')",
        "__import__(name='os')",
        "f(a=__import__('os').system('true'))",
        "f(a=open('/etc/passwd').read())",
        "(lambda: 1)()",
        "f(**{'a': 1})",
        "f(1)",
        "f",
        "[]",
        "f(a=[x for x in (1,)])",
        "f(" * 500,
        "f(a=" + "(" * 300 + ")" * 300 + ")",
        "f(a='" + "x" * 30_000 + "')",
        "import os",
    ],
)
def test_nothing_else_is_a_call_and_nothing_is_run(text):
    with pytest.raises(CallError):
        read_answer(text, frozenset({"f"}))


def test_the_list_of_tools_is_what_keeps_foreign_names_out():
    assert python_calls("__import__(name='os')") == [Call("__import__", {"name": "os"})]
    with pytest.raises(CallError, match="'__import__' is no tool"):
        read_answer("__import__(name='os')", frozenset({"f"}))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("shape.area(base=10, height=5)", True),
        ("shape.area(base=10.0, height=5, unit='Units')", True),
        ("shape.area(base=10)", False),
        ("shape.area(base=10, height=5, colour='red')", False),
        ("other(base=10, height=5)", False),
        ("[shape.area(base=10, height=5), other()]", False),
        (
            '<think>a</think><tool_call>{"name":"shape.area","parameters":{"height":5,"base":10}}</tool_call>',
            True,
        ),
    ],
)
def test_a_call_is_right_if_every_value_is_accepted(text, right):
    found = score(text, QUESTION)
    assert found.right is right
    assert found.fault == ""
    assert (found.agreement == 1.0) is right


def test_the_papers_reward_gives_parts():
    assert score("shape.area(base=10, height=6)", QUESTION).agreement == pytest.approx((1 + 1 + 1) / 4)
    assert score("nothing(", QUESTION).agreement == 0.0
    assert score("nothing(", QUESTION).fault


def test_where_no_tool_fits_words_are_right():
    asked = Question(1, "q", frozenset({"f"}), ())
    assert score("I cannot do that.", asked).right
    assert not score("f(a=1)", asked).right


def test_accepted_values():
    assert accepted("New-York", ["new york"])
    assert accepted([1, "A b"], [[1, "ab"]])
    assert accepted({"x": 1}, [{"x": [1, 2], "y": ["", 3]}])
    assert not accepted({"y": 3}, [{"x": [1, 2], "y": ["", 3]}])
    assert not accepted(True, [1])


def test_files_of_bfcl(bfcl, tmp_path):
    questions = load_questions(bfcl)
    assert [question.text for question in questions] == ["How large?", "Where?"]
    assert questions[0].tools == {"area"}
    given = tmp_path / "answers.jsonl"
    rows = [{"id": "q_1", "result": "[city(name='nyc')]"}, {"id": "q_0", "result": "area(base=3)"}]
    given.write_text("\n".join(map(json.dumps, rows)))
    head, reward, *faults = explain(questions, load_answers(given, questions))
    assert head.startswith("50.0% [1.3%, 98.7%] of 2 questions right, 0 unreadable")
    assert reward == f"the paper's correctness {(1 + 2 / 3) / 2:.3f} of 1, form kept by 0.0%"
    assert faults == []


def test_faults_are_named_by_line(bfcl):
    questions = load_questions(bfcl)
    *_, first, second = explain(questions, {"q_0": "area(base=open('x'))"})
    assert first == "line 1 (q_0): a value that is no literal"
    assert second == "line 2 (q_1): no answer"


@pytest.mark.parametrize(
    "answer", [{"name": "f", "parameters": {"a": 1}}, [{"name": "f", "parameters": {"a": 1}}]]
)
def test_files_of_api_bank(tmp_path, answer):
    path, given = tmp_path / "level-1.json", tmp_path / "answers.json"
    path.write_text(json.dumps([{"system": "s", "user": "u", "answer": answer, "other": ""}]))
    given.write_text(json.dumps([{"result": '{"name": "f", "parameters": {"a": 1}}'}]))
    questions = load_questions(path)
    assert next(iter(explain(questions, load_answers(given, questions)))).startswith("100.0%")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("{", "line 1: no JSON"),
        ("[1]", "line 1: no object"),
        ('{"id": 1}', "no accepted answers"),
        ('{"answer": 3}', "line 1: 'answer' holds no calls"),
    ],
)
def test_a_malformed_file_says_what_to_do(tmp_path, text, message):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        load_questions(path)


def test_answers_without_text_or_of_other_questions(bfcl, tmp_path):
    questions, given = load_questions(bfcl), tmp_path / "a.jsonl"
    given.write_text('{"id": "q_0", "result": 3}')
    with pytest.raises(FileError, match="line 1: no text in 'result'"):
        load_answers(given, questions)
    with pytest.raises(FileError, match="no answer has the id"):
        list(explain(questions, {"z": "f()"}))
