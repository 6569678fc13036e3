"""Speculative decoding of SmolLM2 against transformers' `generate`: one row, greedy, bfloat16, one thread.

Decoders in turn on held-out prompts (code, arithmetic, chat): prompt lookup, EAGLE-3 with a draft vocabulary,
and both together, whose ratio comes first. The bound is what a draft that costs nothing gives: tokens of a
cycle × a one-token forward / a forward of the tree. The draft is trained on first use (about 15 minutes).
"""

from __future__ import annotations

from _measure import ratios, report, start

ARGUMENTS = start(__doc__, pairs=8)

import torch  # noqa: E402 (after the number of threads is set)

from common.speculative.real import RealDraftRecipe, TextRecipe, smollm2, trained  # noqa: E402
from common.speculative.real_evaluation import compare, turns  # noqa: E402
from common.speculative.tree import TreePolicy  # noqa: E402

TREE = TreePolicy(depth=4, top_k=4, budget=10)
NEW = 112


def main() -> None:
    """`--pairs` prompts of each style."""
    torch.set_num_threads(1)
    quick = RealDraftRecipe(TextRecipe(code=4, arithmetic=4, chat=4, tokens=16), kept=64, steps=2, batch=2)
    recipe = quick if ARGUMENTS.quick else RealDraftRecipe()
    target = smollm2()
    network = trained(recipe).network.to(target.dtype)
    new = 16 if ARGUMENTS.quick else NEW
    taken = turns(target, network, TREE, ARGUMENTS.pairs, new, ARGUMENTS.seed)
    found = compare(target, TREE, taken)
    stock, ours = ([turn[name].wall / turn[name].tokens for turn in taken] for name in ("generate", "both"))
    rounded = {name: {key: round(value, 3) for key, value in part.items()} for name, part in found.items()}
    report(
        "transformers' generate / lookup and EAGLE-3, one row, seconds of a token",
        ratios(stock, ours),
        round(found["both"]["bound"], 3),
        [ARGUMENTS.seed],
        decoders=rounded,
        aim=2.5,
    )


if __name__ == "__main__":
    main()
