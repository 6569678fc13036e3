"""The knee by latency, and the parts of the cost model as they are measured."""

import itertools

import pandas as pd
import pytest
import torch
from transformers import PreTrainedModel

from common.speculative.clock import StepClock, clock_of
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.latency import latency_knee, measure_latency_knee, timed_passes
from common.speculative.measured import (
    accepted_tokens,
    draft_seconds,
    termination_speedup,
    timed_phases,
)
from common.speculative.networks import Eagle3Network
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import Probe
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams


def test_the_knee_is_the_largest_batch_whose_pass_is_hardly_slower() -> None:
    curve = pd.DataFrame({"rows": [1, 8, 16, 24], "seconds": [1.0, 1.1, 1.4, 2.0]})
    assert latency_knee(curve) == 10
    assert latency_knee(curve, slower=1.15) == 9
    with pytest.raises(ValueError, match="beyond the sweep"):
        latency_knee(curve.head(2))


def test_the_sweep_ends_beyond_the_knee(qwen: PreTrainedModel) -> None:
    peak, curve = measure_latency_knee(Target(qwen), [1, 2048, 4096], context=8, repeats=3)
    assert 1 <= peak < 2048
    assert curve["rows"].tolist() == [1, 2048]


def test_steps_are_timed_from_one_end_to_the_next() -> None:
    clock = StepClock(torch.device("cpu"))
    clock.on_train_begin(None, None, None)
    for _ in range(2):
        begin = clock.now()
        while clock.now() < begin + 0.001:
            pass
        clock.on_step_end(None, None, None)
    assert (clock.seconds >= 0.001).all()
    assert clock_of(torch.device("cuda")) is not clock.now


def test_passes_drafting_and_phases_are_timed(qwen: PreTrainedModel) -> None:
    target, network = Target(qwen, (1, 3, 4)), Eagle3Network(qwen).double()
    table = timed_passes(target, (1, 2), (1, 4), context=8, repeats=1, largest=4)
    assert table[["rows", "tokens"]].to_numpy().tolist() == [[1, 1], [1, 4], [2, 1]]
    propose = draft_seconds(target, network, itertools.product((1, 2), (1, 2), (1, 2)), 8, repeats=1)
    assert propose(1, 1, 1) > 0
    assert propose(2, 2, 3) == pytest.approx(2 * propose(2, 2, 2) - propose(2, 2, 1))
    engine = SpeculativeGenerator(target, FeatureDraft(network), StaticScheduler(TreePolicy(2, 2, 3)))
    stats, seconds = timed_phases(engine, [torch.tensor([1, 2, 3])] * 2, 6, seed=0)
    assert stats.tokens == 12
    assert set(seconds) == {"propose", "target", "verify", "update"}
    assert min(seconds.values()) > 0


def test_acceptance_is_that_of_the_kept_nodes(qwen: PreTrainedModel) -> None:
    target, network = Target(qwen, (1, 3, 4)), Eagle3Network(qwen).double()
    prompts = [[1, 2, 3], [4, 5, 6]]
    generation = SpeculativeGenerator(target).generate(
        [torch.tensor(prompt) for prompt in prompts], SamplingParams(8), return_features=True
    )
    probe = Probe.of(generation, prompts)
    expected = accepted_tokens(probe, target, network, (1, 2), (1, 2), (1, 2, 6))
    for top_k, depth in itertools.product((1, 2), (1, 2)):
        whole = probe.measure(network, target, TreePolicy(depth, top_k, 6)) - 1
        assert expected(top_k, depth, 6) == pytest.approx(whole, abs=1e-6)
    assert expected(2, 2, 1) < expected(2, 2, 6)
    assert termination_speedup(generation, qwen, 3) == pytest.approx(1.0)
