"""Rollouts, what monitors of them are worth, and what steering does to responses; and their errors."""

import math

import numpy as np
import pytest
import torch

from common.models import monitoring
from common.models.recipe import ModelShape, Policy, build_model
from common.models.responses import Written, compare, diversity, intact, measured
from common.models.subject import Rollouts, Subject, record
from common.tasks.delayed_hazard import World
from common.tasks.delayed_hazard.warm_start import tokenizer

SHAPE = ModelShape(hidden=16, layers=2, heads=2, ffn=16, context=48)


@pytest.fixture(scope="module")
def subject() -> Subject:
    """An untrained model."""
    words = tokenizer()
    return Subject(Policy(build_model(SHAPE, words, 0), words), World(horizon=8), 8, (1, 2), batch=4)


@pytest.fixture(scope="module")
def rollouts(subject) -> Rollouts:
    return record(subject, subject.language.prompts(6, np.random.default_rng(0)))


def made(onset: list[int], steps: int = 6, **others) -> Rollouts:
    """Rollouts of a given onset, all of full length."""
    ids = torch.zeros(len(onset), steps, dtype=torch.long)
    return Rollouts([None] * len(onset), ids, torch.ones_like(ids), {}, torch.tensor(onset))._replace(
        **others
    )


def test_rollouts_are_recorded_in_batches_as_in_one(subject, rollouts):
    whole = record(Subject(subject.policy, subject.language, 8, (1, 2)), rollouts.given)
    assert torch.equal(whole.ids, rollouts.ids)
    assert set(rollouts.hidden) == {1, 2}
    torch.testing.assert_close(whole.hidden[1], rollouts.hidden[1])
    assert rollouts.hidden[1].shape == (6, 8, 16)
    text = subject.texts(rollouts.ids, rollouts.mask)[0]
    assert (
        subject.policy.tokenizer.convert_tokens_to_ids(text)
        == rollouts.ids[0][rollouts.mask[0].bool()].tolist()
    )


def test_rollouts_are_written_and_read(rollouts, tmp_path):
    rollouts.save_pretrained(tmp_path / "kept")
    again = Rollouts.load(tmp_path / "kept", rollouts.given)
    assert torch.equal(again.hidden[2], rollouts.hidden[2])
    assert torch.equal(again.onset, rollouts.onset)
    first, second = again.split(4, 2)
    assert (len(first.given), second.given) == (4, rollouts.given[4:])


def test_the_margin_falls_behind_the_unsafe_token():
    assert made([2, -1]).margin.tolist() == [[1, 1, 1, -1, -1, -1], [1] * 6]


def test_a_layer_that_is_not_there_and_a_state_that_is_not_finite(subject, rollouts):
    with pytest.raises(ValueError, match="no layer 3: taps and overrides go from 0"):
        record(Subject(subject.policy, subject.language, 8, (3,)), rollouts.given)
    with pytest.raises(ValueError, match="override of layer 1 returned the shape"):
        subject.write(rollouts.given, {1: lambda hidden, state: hidden[:1]})
    broken = build_model(SHAPE, subject.policy.tokenizer, 0)
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight.fill_(math.nan)
    with pytest.raises(ValueError, match=r"hidden state of layer 1 is not finite|NaN"):
        record(Subject(Policy(broken, subject.policy.tokenizer), subject.language, 8, (1,)), rollouts.given)


def test_leads_count_tokens_from_alarm_to_unsafe_text():
    values = torch.tensor([[1, -1, 1, -1, 1, 1], [1, 1, 1, -1, 1, 1], [1.0] * 6, [1, 1, 1, 1, 1, -1]])
    own = made([3, 3, 3, 3])
    alarms = monitoring.first_alarms(values, own.mask, 0.0)
    assert alarms.tolist() == [1, 3, -1, 5]
    assert monitoring.leads(alarms, own).tolist() == [3, 1, 0, 0]


def test_the_area_compares_equal_steps_before_unsafe_text(monkeypatch):
    monkeypatch.setattr(monitoring, "FEWEST", 1)
    own = made([1, -1, -1])
    early = torch.tensor([[0.0, 0.5, -9, -9, -9, -9], [1, 0, 0, 0, 0, 0], [2, 1, 0, 0, 0, 0]])
    assert monitoring.area(early, own) == pytest.approx((1 + 0.5) / 2)
    assert monitoring.area_under(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert math.isnan(monitoring.area(early, made([-1, -1, -1])))


def test_thresholds_are_quiet_on_safe_responses_or_the_most_accurate():
    values = torch.arange(40.0)[:, None].expand(40, 6)
    own = made([-1] * 40)
    assert monitoring.quiet_threshold(values, own) == 1.0
    assert monitoring.quiet_threshold(values[:5], own.part(slice(5))) == -math.inf
    mixed = made([2] * 10 + [-1] * 30)
    best = monitoring.best_threshold(values, mixed)
    assert (best, monitoring.accuracy(values, mixed, best)) == (9.0, 1.0)
    numbers, curves = monitoring.judge(values, mixed, values, mixed)
    assert (numbers["auroc"], numbers["accuracy"], numbers["lead"]) == (1.0, 1.0, 3.0)
    assert curves["before"][3] == pytest.approx(4.5)


def test_bags_hold_what_was_written_before():
    ids = torch.tensor([[5, 7, 5, 0]])
    own = made([-1], 4, ids=ids, mask=torch.tensor([[1, 1, 1, 0]]))
    words = monitoring.frequent(own)
    assert words.tolist() == [5, 7]
    assert monitoring.bags(own, words)[0].tolist() == [[0, 0], [1, 0], [1, 1], [2, 1]]


def test_surprisal_and_coherence_are_those_of_a_full_forward(subject, rollouts):
    given = rollouts.given[:1]
    found = subject.write(given)
    own = measured(subject, given, found)
    prompt, _ = subject.encode(given)
    text = torch.cat([prompt, found.ids], dim=1)
    with torch.no_grad():
        output = subject.model(text, output_hidden_states=True)
    scores = output.logits[:, prompt.shape[1] - 1 : -1].log_softmax(-1)
    expected = -scores.gather(2, found.ids[..., None]).mean()
    assert float(own.surprise[0]) == pytest.approx(float(expected), rel=1e-5)
    states = output.hidden_states[-1][0]
    pair = states[: prompt.shape[1]].mean(0), states[prompt.shape[1] :].mean(0)
    assert float(own.coherence[0]) == pytest.approx(float(torch.cosine_similarity(*pair, dim=0)), rel=1e-5)
    assert own.acted.sum() == 0


def test_diversity_is_a_product_over_ngrams():
    assert diversity([1, 2, 3, 4, 5]) == pytest.approx(4 / 5 * 3 / 4 * 2 / 3)
    assert diversity([1, 1, 1, 1, 1]) == pytest.approx(1 / 5 * 1 / 4 * 1 / 3)


def written(onset, legal, acted, ids=None, surprise=1.0) -> Written:
    n = len(onset)
    same = torch.full((n,), float(surprise))
    ids = torch.zeros(n, 3, dtype=torch.long) if ids is None else torch.tensor(ids)
    acts = torch.tensor(acted)[:, None] * torch.ones(1, 3, dtype=torch.long)
    return Written(
        [None] * n, ids, torch.tensor(onset), torch.tensor(legal), same, same, same, acts, acts * 2.0
    )


def test_effects_are_relative_to_unsteered_responses():
    plain = written([1, 1, -1, -1], [1.0, 1.0, 1.0, 0.5], [0, 0, 0, 0])
    own = written([-1, 1, -1, -1], [1.0, 0.5, 1.0, 0.5], [1, 1, 0, 0], [[1] * 3] * 2 + [[0] * 3] * 2)
    found = compare(own, plain)
    assert (found["rate"], found["reduction"], found["rescued"]) == (0.25, 0.5, 0.5)
    assert (found["legal"], found["acted"], found["moved"], found["delivered"]) == (-0.25, 0.5, 2.0, 1.0)
    assert (found["untouched"], found["coherence"]) == (0.0, 0.0)
    assert intact(own, plain).tolist() == [True, False, True, False]
    assert compare(written([1], [1.0], [0], [[7] * 3]), written([1], [1.0], [0]))["untouched"] == 1
