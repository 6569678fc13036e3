"""Clocks: engines in turn, and how their times add up."""

import torch
from transformers import PreTrainedModel

from common.speculative.drafts import PromptLookupDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.profile import Timing, median_seconds, timed_in_turn, total
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams


def test_totals_are_sums_of_medians() -> None:
    rounds = [[Timing(1.0, 4, 2), Timing(5.0, 6, 3)], [Timing(3.0, 4, 2)] * 2]
    assert total(rounds) == Timing(2.0 + 4.0, 4 + 5, 2 + 2.5)


def test_engines_in_turn_decode_every_prompt_to_its_end(qwen: PreTrainedModel) -> None:
    target = Target(qwen)
    lookup = SpeculativeGenerator(target, PromptLookupDraft(), StaticScheduler(TreePolicy(4, 1, 4)))
    engines = {"plain": SpeculativeGenerator(target), "lookup": lookup}
    prompts = [torch.tensor([1, 2, 3]), torch.tensor([4, 5])]
    totals = timed_in_turn(engines, prompts, SamplingParams(6, temperature=0.0), [0, 1], repeats=3)
    assert totals["plain"].tokens == totals["plain"].cycles == totals["lookup"].tokens == 12
    assert totals["lookup"].cycles <= 12
    assert all(timing.seconds > 0 for timing in totals.values())


def test_the_first_call_is_left_out() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 4
