"""Tiny models kept by recipe: trained once, whoever asks, and never seen half written."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from joblib import Parallel, delayed

from common.models.recipe import cached, cosine


@dataclass(frozen=True)
class Recipe:
    steps: int = 1


class Model:
    """Notes in the store's folder that it was trained."""

    def __init__(self, log: Path, fails: bool = False) -> None:
        self.log, self.fails = log, fails

    def save_pretrained(self, folder: Path) -> None:
        with self.log.open("a") as log:
            log.write("trained\n")
        folder.mkdir(parents=True, exist_ok=True)
        if self.fails:
            raise OSError("disk full")
        (folder / "weights").write_text("1")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    return tmp_path / "log"


def ask(recipe: Recipe, log: Path) -> Path:
    return cached(recipe, lambda: Model(log))


def test_a_model_is_trained_on_first_use_only_and_by_one_of_those_who_ask(log: Path) -> None:
    places = Parallel(n_jobs=4, backend="threading")(delayed(ask)(Recipe(), log) for _ in range(8))
    assert len(set(places)) == 1
    assert log.read_text() == "trained\n"
    assert ask(Recipe(2), log) != places[0]
    assert (places[0] / "weights").read_text() == "1"


def test_a_half_written_model_is_not_taken_for_a_whole_one(log: Path) -> None:
    with pytest.raises(OSError, match="disk full") as failure:
        cached(Recipe(), lambda: Model(log, fails=True))
    assert "recipe Recipe(steps=1); nothing of it was kept" in failure.value.__notes__[0]
    assert [path.suffix for path in (log.parent / "models").iterdir()] == [".lock"]
    assert (ask(Recipe(), log) / "weights").read_text() == "1"


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    shares = [cosine(2, 10)(step) for step in range(11)]
    assert shares[:3] == [0.5, 1.0, 1.0]
    assert shares[10] == pytest.approx(0.0)
    assert shares[2:] == sorted(shares[2:], reverse=True)
    assert cosine(10, 110)(60) == pytest.approx(0.5)
    assert [cosine(2, 10, first=0)(step) for step in range(3)] == [0.0, 0.5, 1.0]
