"""Speculative decoding on gto's target, against plain decoding in the same loop and stock `generate`.

Greedy, so that all three write the same texts (counted). Trees of five levels at one row; from there on the
concurrency-aware schedule with a knee measured first. The bound of a speed-up is what a free draft gives:
tokens per cycle × a one-token forward / a forward of the tree. Beside it: where a cycle's time goes, what a
forward costs by its tokens, and the peak memory of the process.
"""

from __future__ import annotations

from _measure import ratios, report, start

ARGUMENTS = start(__doc__, pairs=7)

import resource  # noqa: E402 (after the number of threads is set)
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, TypeVar  # noqa: E402

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from common.speculative.drafts import FeatureDraft  # noqa: E402
from common.speculative.generate import PHASES, SpeculativeGenerator  # noqa: E402
from common.speculative.profile import forward_seconds, latency_table, measure_c_peak  # noqa: E402
from common.speculative.scheduler import (  # noqa: E402
    ConcurrencyAwareScheduler,
    Scheduler,
    StaticScheduler,
)
from common.speculative.target import Target  # noqa: E402
from common.speculative.tree import TreePolicy  # noqa: E402
from common.speculative.verify import SamplingParams  # noqa: E402
from common.tasks.tridomain import DOMAINS, items  # noqa: E402
from common.tasks.tridomain.warm_start import TargetRecipe, corpus, encode, tokenizer  # noqa: E402
from papers.gto.runs.training import DraftRecipe, target_for, trained  # noqa: E402

DRAFT_STEPS = 1000  # five times the study's Phase I
TREE = TreePolicy(depth=5, top_k=4, budget=24)
ROWS = (1, 4, 16, 64)
SIZES = (1, 8, 16, 24, 32, 48, 64)
LONGEST = 64
T = TypeVar("T")


def prompts(count: int, seed: int) -> list[Tensor]:
    """Prompts of all domains, in turn; the seed decides which comes first."""
    first = seed % len(DOMAINS)
    drawn = items(corpus(seed, first + count, "heldout"))
    return [encode(item.prompt) for item in drawn[first:]]


def generate(target: Target, texts: list[Tensor], params: SamplingParams) -> list[Tensor]:
    """Stock `generate`, padded on the left."""
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_side="left")
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(text) for text in texts], batch_first=True, padding_side="left"
    )
    found = target.model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=params.max_new_tokens,
        do_sample=False,
        eos_token_id=list(params.eos_ids),
        pad_token_id=tokenizer().pad_token_id,
    )
    return list(found[:, ids.shape[1] :])


def agreement(one: list[Tensor], other: list[Tensor]) -> float:
    """Share of texts that are equal up to the shorter one's end."""
    same = [torch.equal(a[: len(b)], b[: len(a)]) for a, b in zip(one, other, strict=True)]
    return sum(same) / len(same)


def timed(function: Callable[..., T], *arguments: Any) -> tuple[float, T]:
    """Seconds of a call, and what it returned."""
    begin = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - begin, found


def measure(
    target: Target, draft: FeatureDraft, schedule: Scheduler, rows: int, pairs: int, seed: int
) -> dict[str, Any]:
    """The three decoders in turn, on fresh prompts each time."""
    params = SamplingParams(LONGEST, temperature=0.0, eos_ids=(tokenizer().eos_token_id,))
    speculative, plain = SpeculativeGenerator(target, draft, schedule), SpeculativeGenerator(target)
    for engine in (speculative, plain):
        engine.generate(prompts(rows, seed), params)
    times, decoding, same, stats = [], [], [], []
    for pair in range(pairs):
        texts = prompts(rows, seed + 1 + pair)
        ours, one = timed(speculative.generate, texts, params)
        theirs, other = timed(plain.generate, texts, params)
        stock, third = timed(generate, target, texts, params)
        times.append((ours, theirs, stock))
        decoding.append(
            tuple(took - g.stats.seconds["prefill"] for took, g in ((ours, one), (theirs, other)))
        )
        same += [agreement(one.tokens, other.tokens), agreement(other.tokens, third)]
        stats.append(one.stats)
    columns = dict(zip(("speculative", "plain", "generate"), zip(*times, strict=True), strict=True))
    tokens, cycles = sum(each.tokens for each in stats), sum(each.cycles for each in stats)
    return {
        "over_plain": ratios(columns["plain"], columns["speculative"]),
        "over_plain_without_prefill": ratios(*reversed(list(zip(*decoding, strict=True)))),
        "over_generate": ratios(columns["generate"], columns["speculative"]),
        "tokens_per_second": {name: round(tokens / sum(took)) for name, took in columns.items()},
        "acceptance_length": round(tokens / sum(sum(each.active) for each in stats), 2),
        "cycle_ms": {
            phase: round(1000 * sum(each.seconds[phase] for each in stats) / cycles, 2)
            for phase in PHASES[1:]
        },
        "same_texts": round(sum(same) / len(same), 4),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """One row with static trees, then more rows with the schedule; latency by tokens."""
    torch.set_num_threads(1)
    quick = ARGUMENTS.quick
    recipe = DraftRecipe(TargetRecipe(steps=20), steps=10) if quick else DraftRecipe(steps=DRAFT_STEPS)
    target, draft = target_for(recipe.target, "eagle3"), FeatureDraft(trained(recipe))
    peak, _ = measure_c_peak(target, (1, *range(8, 65 if quick else 257, 8)), repeats=3 if quick else 15)
    single = measure(target, draft, StaticScheduler(TREE), 1, 3 * ARGUMENTS.pairs, ARGUMENTS.seed)
    schedule = ConcurrencyAwareScheduler(c_peak=peak)
    batches = {
        rows: measure(target, draft, schedule, rows, ARGUMENTS.pairs, ARGUMENTS.seed)
        for rows in (ROWS[:2] if quick else ROWS)
    }
    table = latency_table(target, [1], SIZES[:3] if quick else SIZES, repeats=3 if quick else 15)
    one, tree = (forward_seconds(target, 1, count, 64, repeats=15) for count in (1, TREE.nodes + 1))
    free = single["acceptance_length"] * sorted(one)[7] / sorted(tree)[7]
    report(
        "plain decoding / speculative decoding, one row, prefill left out",
        single.pop("over_plain_without_prefill"),
        round(free, 2),
        [ARGUMENTS.seed],
        **single,
        by_rows=batches,
        c_peak=peak,
        forward_ms={int(row.tokens): round(1000 * row.seconds, 2) for row in table.itertuples()},
    )


if __name__ == "__main__":
    main()
