import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tasks.or_models import benchmarks
from common.tasks.or_models.benchmarks import (
    Answer,
    BenchmarkError,
    Question,
    load_answers,
    load_benchmark,
    score,
)

ROWS = [
    {"en_question": "A factory ...", "en_answer": "219816.0", "difficulty": "Medium", "id": 1},
    {"en_question": " How many\nstores? ", "en_answer": 3},
    {"en_question": "Fibres", "en_answer": " 18.6943\n"},
    {"en_question": "Impossible", "en_answer": "No Best Solution"},
]
READ = [(219816.0, "A factory ..."), (3.0, "How many\nstores?"), (18.6943, "Fibres"), (None, "Impossible")]


def file(folder, text, name="bench.json"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def line(answer):
    return json.dumps({"en_question": "q", "en_answer": answer})


@pytest.mark.parametrize("name", ["bench.json", "bench.jsonl", "bench"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
def test_an_object_a_line(tmp_path, name, end):
    rows = load_benchmark(file(tmp_path, end.join(map(json.dumps, ROWS)), name))
    assert [(row.answer, row.text) for row in rows] == READ
    assert rows[1].line == 2 + (end.count("\n") - 1)


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_an_array(tmp_path, indent, mark):
    rows = load_benchmark(file(tmp_path, f"{mark}\n{json.dumps(ROWS, indent=indent)}\n"))
    assert [(row.answer, row.text) for row in rows] == READ


def test_lines_of_an_array(tmp_path):
    text = '[\n  {"en_question": "a",\n   "en_answer": 1},\n\n  {"en_question": "b", "en_answer": 2}]'
    assert [row.line for row in load_benchmark(file(tmp_path, text))] == [2, 5]


def test_a_text_may_hold_other_ends_of_lines(tmp_path):
    rows = '{"en_question": "a\u2028b\u0085c", "en_answer": 1}\n{"en_question": "d", "en_answer": 2}'
    assert [row.text for row in load_benchmark(file(tmp_path, rows))] == ["a\u2028b\u0085c", "d"]


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        (f"{line(1)}\n{line(2)[:-3]}", "line 2: no JSON", "one complete JSON object a line"),
        (f"{line(1)}\n\n[1, 2]", "line 3: an array stands", "write {...}"),
        (f"{line(1)}\n7", "line 2: a number stands", "write {...}"),
        (f'{line(1)}\n{{"en_question": "q", "answer": 3}}', "line 2: 'en_answer' is missing", "add"),
        ('{"en_answer": 3}', "line 1: 'en_question' is missing", "add"),
        ('{"en_question": " ", "en_answer": 3}', "line 1: 'en_question' is no text", "in words"),
        ('{"en_question": 5, "en_answer": 3}', "line 1: 'en_question' is no text", "in words"),
        (line("about 12"), "line 1: 'en_answer' is \"about 12\"", "No Best Solution"),
        (line("1,234"), "line 1: 'en_answer' is \"1,234\"", "a number"),
        (line("1_000"), "line 1: 'en_answer' is \"1_000\"", "a number"),
        (line(""), "line 1: 'en_answer' is \"\"", "a number"),
        (line("nan"), "line 1: 'en_answer' is \"nan\"", "a number"),
        (line(float("inf")), "line 1: 'en_answer' is Infinity", "a number"),
        (line(10**400), "line 1: 'en_answer' is 1000", "a number"),
        (line(True), "line 1: 'en_answer' is true or false", "a number"),
        (line(None), "line 1: 'en_answer' is null", "a number"),
        (line([1]), "line 1: 'en_answer' is an array", "a number"),
        (line({"value": 1}), "line 1: 'en_answer' is an object", "a number"),
        (f"[{line(1)},\n{line(2)}\n{line(3)}]", "line 3: neither comma", "write , or ]"),
        (f"[{line(1)},\n{line(2)}\n", "line 3: neither comma", "write , or ]"),
        (f"[{line(1)},\n]", "line 2: no JSON", "one array"),
        (f"[{line(1)},\n{{]", "line 2: no JSON", "one array"),
        (f"[\n{line(1)},\n3]", "line 3: a number stands", "write {...}"),
        (f"[{line(1)}]\n{line(2)}", "line 1: text behind the array", "a single array"),
        ("[" * 100_000, "line 1: no JSON", "one array"),
        ("", "holds no rows", "one JSON object a line"),
        ("[ ]", "holds no rows", "one JSON object a line"),
        (b'{"en_question": "\xff", "en_answer": 1}', "not UTF-8 at byte 17", "save it as UTF-8"),
    ],
)
def test_a_malformed_file_is_explained(tmp_path, text, where, fix):
    path = file(tmp_path, text)
    with pytest.raises(BenchmarkError) as error:
        load_benchmark(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert where in message
    assert fix in message.split("Fix: ")[1]
    assert len(message) < len(str(path)) + 250


def test_a_missing_file(tmp_path):
    with pytest.raises(BenchmarkError, match=r"cannot read .*nowhere"):
        load_benchmark(tmp_path / "nowhere")


def test_answers(tmp_path):
    text = '{"answer": "12 "}\n{"answer": null}\n{"answer": "no best  solution"}\n{"answer": 3, "id": 9}'
    expected = (Answer(1, 12.0), Answer(2, None, given=False), Answer(3, None), Answer(4, 3.0))
    assert load_answers(file(tmp_path, text)) == expected
    with pytest.raises(BenchmarkError, match="line 1: 'answer' is missing"):
        load_answers(file(tmp_path, "{}"))


def test_marks_and_their_score():
    asked = [Question(i, "q", value) for i, value in enumerate([100.0, 100.0, 0.0, None, None, 5.0, 5.0])]
    given = [
        Answer(0, 100.00009),
        Answer(1, 100.0002),
        Answer(2, 9e-7),
        Answer(3, None),
        Answer(4, 0.0),
        Answer(5, None),
        Answer(6, None, given=False),
    ]
    result = score(asked, given)
    assert result.marks == ("right", "wrong", "right", "right", "wrong", "wrong", "not given")
    assert result.accuracy == pytest.approx(3 / 7)
    assert result.interval.low < 3 / 7 < result.interval.high
    assert score(asked[:2], given[:2], tolerance=1e-5).accuracy == 1


def test_the_interval_is_exact_at_its_ends():
    # Clopper and Pearson with no error in n: the lower limit is (α/2)^(1/n).
    asked, given = [Question(0, "q", 1.0)] * 18, [Answer(0, 1.0)] * 18
    interval = score(asked, given).interval
    assert interval.low == pytest.approx(0.025 ** (1 / 18))
    assert interval.high == 1


@pytest.mark.parametrize(("questions", "answers"), [(2, 1), (1, 2), (0, 0)])
def test_one_answer_a_question(questions, answers):
    with pytest.raises(BenchmarkError, match=f"{answers} answers to {questions} questions"):
        score([Question(0, "q", 1.0)] * questions, [Answer(0, 1.0)] * answers)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(st.one_of(TEXTS, st.text(alphabet='[]{},:" \n1aen_question', max_size=40)))
def test_any_text_is_read_or_explained(tmp_path_factory, text):
    path = file(tmp_path_factory.getbasetemp(), text, "any")
    with pytest.raises(BenchmarkError):
        load_benchmark(path)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.recursive(
    st.none() | st.booleans() | FLOATS | TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


@given(
    st.lists(st.tuples(TEXTS.filter(str.strip), FLOATS, st.booleans(), ANY), min_size=1, max_size=5),
    st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, rows, as_array):
    objects = [
        {"further": further, "en_question": text, "en_answer": f" {value!r} " if quoted else value}
        for text, value, quoted, further in rows
    ]
    written = json.dumps(objects, indent=1) if as_array else "\n".join(json.dumps(o) for o in objects)
    path = file(tmp_path_factory.getbasetemp(), written, "written")
    read = benchmarks.load_benchmark(path)
    assert [(row.text, row.answer) for row in read] == [(text.strip(), value) for text, value, _, _ in rows]
