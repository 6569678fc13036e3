"""Rounds leave every artefact, and a stop anywhere leaves no trace."""

import json

import pytest

from common.preference.rounds import Stages, rounds

SETTINGS = {"seed": 3, "count": 4}


class Stop(Exception):
    pass


class Counting:
    """Stages whose policy is a number; the call of the given order raises, training half-way."""

    def __init__(self, stop=None):
        self.stop, self.calls = stop, []

    def _call(self, name):
        if len(self.calls) == self.stop:
            raise Stop(name)
        self.calls.append(name)

    def sample(self, number, models):
        self._call("sample")
        policy = json.loads((models / "policy.json").read_text())
        return [{"problem": at, "text": f"{number} {policy} \u2028é"} for at in range(4)]

    def score(self, number, models, samples):
        self._call("score")
        return [row | {"score": len(row["text"]) * row["problem"] / 3} for row in samples]

    def pairs(self, number, scores):
        self._call("pairs")
        return [row for row in scores if row["problem"] % 2]

    def train(self, number, models, pairs, folder):
        (folder / "half").write_text("written before the stop")
        self._call("train")
        (folder / "half").unlink()
        before = json.loads((models / "policy.json").read_text())
        (folder / "policy.json").write_text(json.dumps(before + sum(row["score"] for row in pairs)))

    def stages(self):
        return Stages(self.sample, self.score, self.pairs, self.train)


@pytest.fixture
def start(tmp_path):
    folder = tmp_path / "start"
    folder.mkdir()
    (folder / "policy.json").write_text("1.5")
    return folder


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_artefact_is_on_disk(tmp_path, start):
    found = list(rounds(tmp_path / "run", start, Counting().stages(), 2, SETTINGS))
    assert [one.number for one in found] == [0, 1]
    stages = ("samples.jsonl", "scores.jsonl", "pairs.jsonl", "models/policy.json")
    assert set(tree(tmp_path / "run")) == {
        "settings.json",
        *(f"round-{number:03}/{name}" for number in range(2) for name in stages),
    }
    assert found[0].samples[0]["text"] == "0 1.5 \u2028é"
    assert found[1].models == tmp_path / "run" / "round-001" / "models"


@pytest.mark.parametrize("stop", range(8))
def test_a_stop_leaves_no_trace(tmp_path, start, stop):
    list(rounds(tmp_path / "whole", start, Counting().stages(), 2, SETTINGS))
    stopped, again = Counting(stop), Counting()
    with pytest.raises(Stop):
        list(rounds(tmp_path / "run", start, stopped.stages(), 2, SETTINGS))
    list(rounds(tmp_path / "run", start, again.stages(), 2, SETTINGS))
    assert tree(tmp_path / "run") == tree(tmp_path / "whole")
    assert stopped.calls + again.calls == ["sample", "score", "pairs", "train"] * 2


def test_a_file_that_was_half_written_is_not_read(tmp_path, start):
    list(rounds(tmp_path / "whole", start, Counting().stages(), 1, SETTINGS))
    half = tmp_path / "run" / "round-000"
    half.mkdir(parents=True)
    (half / "samples.jsonl.new").write_text('{"problem": 0, "te')
    list(rounds(tmp_path / "run", start, Counting().stages(), 1, SETTINGS))
    assert tree(tmp_path / "run") == tree(tmp_path / "whole")


def test_more_rounds_go_on_where_fewer_ended(tmp_path, start):
    list(rounds(tmp_path / "run", start, Counting().stages(), 1, SETTINGS))
    more = Counting()
    list(rounds(tmp_path / "run", start, more.stages(), 3, SETTINGS))
    assert more.calls == ["sample", "score", "pairs", "train"] * 2


def test_rounds_of_other_settings_are_refused(tmp_path, start):
    list(rounds(tmp_path / "run", start, Counting().stages(), 1, SETTINGS))
    with pytest.raises(ValueError, match="rounds with other settings"):
        list(rounds(tmp_path / "run", start, Counting().stages(), 1, {"seed": 4}))
