"""A paper is small: at most ten files and 1,500 lines of Python, and a card of 500 lines."""

from dataclasses import astuple, dataclass

import pytest

from common.study.card import TEMPLATE, list_papers
from common.study.paths import papers_root


@dataclass(frozen=True)
class Size:
    """Python files, their lines, and lines of the card."""

    files: int
    lines: int
    card: int


BUDGET = Size(files=10, lines=1500, card=500)
FIRST_PAPERS = {
    "fastgrpo": Size(12, 2640, 580),
    "fcp": Size(10, 1690, 540),
    "gto": Size(13, 2880, 715),  # with SmolLM2 as a target
    "qae": Size(10, 1810, 540),
    "rl_zvp": Size(10, 1975, 730),
    "rlhf_exploration": Size(12, 1865, 550),  # with its trainer and the bandit of many arms
}
"""Papers from before the budget: what they may take until their engines move to `common`; only ever less, but
for premises and findings, which their cards got later."""


def size(slug: str) -> Size:
    folder = papers_root() / slug
    files = [path for path in folder.rglob("*.py") if path.name != "example.py"]  # the README's, no module
    sources = [path.read_text(encoding="utf-8") for path in files]
    card = (folder / "paper.yaml").read_text(encoding="utf-8")
    return Size(len(sources), sum(len(text.splitlines()) for text in sources), len(card.splitlines()))


@pytest.mark.parametrize("slug", [*list_papers(), TEMPLATE])
def test_a_paper_keeps_its_budget(slug, capsys):
    taken, allowed = size(slug), FIRST_PAPERS.get(slug, BUDGET)
    with capsys.disabled():
        print(f"\n{slug:18} {taken.files:3} files {taken.lines:5} lines, card {taken.card:4} lines", end=" ")
    assert all(own <= most for own, most in zip(astuple(taken), astuple(allowed), strict=True))
