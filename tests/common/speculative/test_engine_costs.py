"""An engine beside its cost model: cycles add up, and what is held against them is what was generated."""

import pytest
import torch
from transformers import PreTrainedModel

from common.speculative.costs import Costs
from common.speculative.drafts import FeatureDraft
from common.speculative.engine_costs import Decoder, Trials, averaged
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import Eagle3Network
from common.speculative.scheduler import ConcurrencyAwareScheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy

TOKENS, ROWS = 6, (1, 2)


def costs(pass_seconds: float, plain_step: float = 0.0) -> Costs:
    """A pass takes as long whatever it reads, and a draft takes its levels."""
    return Costs(
        lambda rows, tokens: pass_seconds,
        lambda rows, top_k, depth: float(depth),
        lambda top_k, depth, kept: 0.0,
        lambda rows, tokens: plain_step,
    )


@pytest.fixture
def trials(qwen: PreTrainedModel) -> Trials:
    network = Eagle3Network(qwen).double()

    def scene(schedule, rows):  # type: ignore[no-untyped-def]  # two modules' types, both in `Scene`
        draft = FeatureDraft(network) if schedule else None
        target = Target(qwen, (1, 3, 4)) if draft else Target(qwen)
        return SpeculativeGenerator(target, draft, schedule), [torch.tensor([1, 2, 3])] * rows

    return Trials(scene, ROWS, TOKENS, repeats=1)


def test_a_cycle_costs_what_its_trees_ask_for() -> None:
    assert Decoder(None, costs(2.0, 0.5)).cycle(4) == 2.5
    assert Decoder(StaticScheduler(TreePolicy(3, 2, 5)), costs(2.0)).cycle(4) == 5.0
    assert Decoder(ConcurrencyAwareScheduler(1), costs(2.0)).cycle(4) == 2.0  # no tree for so many rows


def test_several_measurements_are_averaged_part_by_part() -> None:
    mean = averaged([costs(1.0, 0.0), costs(3.0, 1.0)])
    assert (mean.verify(1, 1), mean.propose(1, 1, 2), mean.rest(1, 1)) == (2.0, 2.0, 0.5)


def test_a_model_in_which_a_cycle_costs_the_same_predicts_the_tokens_of_a_cycle(trials: Trials) -> None:
    tree = StaticScheduler(TreePolicy(2, 2, 4))
    decoders = {"plain": Decoder(None, costs(1.0)), "tree": Decoder(tree, costs(-1.0))}  # -1 + 2 levels
    table = trials.speedups(decoders, seed=0)
    assert table[["rows", "decoder"]].to_numpy().tolist() == [[1, "tree"], [2, "tree"]]
    for rows, predicted in zip(ROWS, table["modelled"], strict=True):
        engine, prompts = trials.scene(tree, rows)
        assert 1.0 <= predicted <= 3.0
        cycles = rows * TOKENS / (predicted * rows)  # plain decoding takes a cycle a token of every row
        assert cycles == pytest.approx(round(cycles))
        assert len(prompts) == rows
        assert engine.scheduler is tree
    assert (table["measured"] > 0).all()


def test_the_rest_of_a_cycle_is_timed_with_all_rows(trials: Trials) -> None:
    schedules = {1: None, 5: StaticScheduler(TreePolicy(2, 2, 4))}
    found = trials.rest_seconds(schedules, seed=0)
    assert found.keys() == {(rows, tokens) for rows in ROWS for tokens in schedules}
    assert min(found.values()) > 0
