"""The lean decoder against `model.generate`, on prompts and policy of a pocket training.

Both draw from the same distribution and stop at the end-of-sequence token. The bound is arithmetic: two
operations per parameter for each token that has to be read (every prompt once) or written, at the speed of
this core's best matrix product, against the seconds of `generate`. Beside it stands the share of `generate`'s
row-steps that are tokens of a completion: it goes on with every row until the longest has ended.
"""

from __future__ import annotations

from _measure import ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=5)

from typing import Any  # noqa: E402 (after the number of threads is set)

import torch  # noqa: E402
from transformers import GenerationConfig  # noqa: E402

from common.models.decoding import sample  # noqa: E402
from common.models.pocket import load_pocket  # noqa: E402
from common.tasks import opchain  # noqa: E402

SAMPLES = 16
LONGEST = 32


def operations_per_second(size: int = 1024) -> float:
    """Floating-point operations of the fastest of a few square float32 matrix products."""
    matrix = torch.ones(size, size)
    return 2 * size**3 / min(seconds(lambda: matrix @ matrix) for _ in range(10))


def measure(rows: int, pairs: int, seed: int) -> tuple[dict[str, Any], float]:
    """Ratios at so many rows, and the bound."""
    model, tokenizer = load_pocket("opchain-0")
    prompts = [item.prompt for item in opchain.items(opchain.OpChainConfig(seed=seed, size=rows // SAMPLES))]
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    ids, mask = (encoded[key].repeat_interleave(SAMPLES, dim=0) for key in ("input_ids", "attention_mask"))
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    config = GenerationConfig(
        max_new_tokens=LONGEST, do_sample=True, top_k=0, top_p=1.0, eos_token_id=eos, pad_token_id=pad
    )

    def lean() -> torch.Tensor:
        return sample(model, ids, mask, LONGEST, 1.0, eos_id=eos, pad_id=pad).mask

    def generate() -> torch.Tensor:
        with torch.no_grad():
            return model.generate(input_ids=ids, attention_mask=mask, generation_config=config)

    torch.manual_seed(seed)
    tokens = lean()
    generate()
    times = [(seconds(lean), seconds(generate)) for _ in range(pairs)]
    measured = ratios(*zip(*times, strict=True))
    needed = 2 * model.num_parameters() * int(tokens.sum() + mask[::SAMPLES].sum())
    bound = needed / operations_per_second() / measured["seconds"][1]
    return {**measured, "row_steps": round(float(tokens.float().mean()), 4)}, round(bound, 4)


def main() -> None:
    """Measure at the rows of a rollout batch and of an evaluation."""
    torch.set_num_threads(1)
    few, many = (16, 32) if ARGUMENTS.quick else (128, 6400)
    (small, small_bound), (large, large_bound) = (
        measure(rows, pairs, ARGUMENTS.seed)
        for rows, pairs in ((few, 3 * ARGUMENTS.pairs), (many, max(1, ARGUMENTS.pairs // 2)))
    )
    report(
        "lean decoder / model.generate",
        small,
        small_bound,
        [ARGUMENTS.seed],
        rows=few,
        at_evaluation={"rows": many, **large, "bound": large_bound},
    )


if __name__ == "__main__":
    main()
