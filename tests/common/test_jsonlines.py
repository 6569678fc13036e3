"""Reading of JSON lines, and that every reader of them does it."""

import ast
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from common.jsonlines import read_json_lines
from common.study.paths import ROOT

SOURCES = [
    path for folder in ("common", "papers", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))
]


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=5),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_line_is_what_was_written_as_one(tmp_path_factory, texts, ending):
    path = tmp_path_factory.getbasetemp() / "lines.jsonl"
    lines = [json.dumps(text, ensure_ascii=False) for text in texts]
    path.write_bytes("".join(line + ending for line in lines).encode())
    assert [json.loads(line) for line in read_json_lines(path) if line] == texts


def test_every_character_that_splitlines_cuts_at_is_kept(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(
        text := "".join(map(chr, (0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029))), encoding="utf-8"
    )
    assert read_json_lines(path) == [text]


def calls(path: Path) -> set[str]:
    """Attributes that a module calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.attr for function in called if isinstance(function, ast.Attribute)}


def test_no_module_that_reads_json_splits_at_other_line_ends():
    assert len(SOURCES) > 100
    assert not [path for path in SOURCES if {"loads", "splitlines"} <= calls(path)]
