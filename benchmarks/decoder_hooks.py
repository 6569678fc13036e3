"""The hooked decoder that records hidden states against the lean sampler that writes the same texts.

Two layers are recorded, in float16. The first ratio is that of a pocket policy, whose steps are so short that
a hook weighs most; SmolLM2's stands beside it where it is installed. `off` is the hooked decoder with nothing
to record. The bound counts the recorded bytes alone, at this core's speed of copying.
"""

from __future__ import annotations

from _measure import ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=5)

from typing import Any  # noqa: E402 (after the number of threads is set)

import torch  # noqa: E402
from transformers import PreTrainedModel, PreTrainedTokenizerBase  # noqa: E402

from common.models.decoding import sample  # noqa: E402
from common.models.options import all_ends  # noqa: E402
from common.models.pocket import load_pocket  # noqa: E402
from common.models.pretrained import load_smollm2  # noqa: E402
from common.models.stepwise import Draw, decode  # noqa: E402
from common.study.assets import missing  # noqa: E402
from common.tasks import opchain  # noqa: E402

SENTENCES = (
    "The old harbour was quiet until",
    "A recipe for bread begins with",
    "In winter, the river",
    "Why",
)


def copy_speed(size: int = 2**24) -> float:
    """Bytes a second of the fastest of a few copies."""
    source, target = torch.zeros(2, size)
    return 4 * size / min(seconds(lambda: target.copy_(source)) for _ in range(5))


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], longest: int, pairs: int
) -> tuple[dict[str, Any], float]:
    """Ratios over the lean sampler, of recording and of nothing on; and the bound of the first."""
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    given = (model, encoded["input_ids"], encoded["attention_mask"], longest)
    ends, pad = all_ends(model, tokenizer.eos_token_id), tokenizer.pad_token_id
    layers = model.config.num_hidden_layers
    generator, kept = torch.Generator(), {}

    def plain() -> None:
        kept["plain"] = sample(*given, 1.0, ends, pad, generator.manual_seed(ARGUMENTS.seed)).ids

    def hooked(name: str, taps: tuple[int, ...]) -> None:
        hook = Draw(generator=generator.manual_seed(ARGUMENTS.seed))
        kept[name] = decode(*given, hook, ends, pad, taps=taps, tap_dtype=torch.float16)

    arms = (lambda: hooked("recording", (layers // 2, layers)), plain, lambda: hooked("off", ()))
    for arm in arms:
        arm()
    recording, lean, off = zip(*([seconds(arm) for arm in arms] for _ in range(pairs)), strict=True)
    written = sum(2 * hidden.numel() for hidden in kept["recording"].hidden.values())
    measured = {
        **ratios(recording, lean),
        "off": ratios(off, lean),
        "same_texts": all(torch.equal(kept[name].ids, kept["plain"]) for name in ("recording", "off")),
        "rows": len(prompts),
        "megabytes": round(written / 1e6, 3),
    }
    return measured, round(1 + written / copy_speed() / measured["seconds"][1], 4)


def main() -> None:
    """A rollout batch of a pocket policy, and a few texts of SmolLM2."""
    torch.set_num_threads(1)
    quick, pairs = ARGUMENTS.quick, ARGUMENTS.pairs
    items = opchain.items(opchain.OpChainConfig(seed=ARGUMENTS.seed, size=1 if quick else 8))
    prompts = [item.prompt for item in items for _ in range(16)]
    pocket, bound = measure(*load_pocket("opchain-0"), prompts, 32, 4 * pairs)
    real = None
    if not missing(("smollm2",)):
        some = list(SENTENCES[:1] if quick else 2 * SENTENCES)
        real, _ = measure(*load_smollm2(), some, 2 if quick else 16, pairs)
    seeds = [ARGUMENTS.seed]
    report("recording decoder / lean sampler", pocket, bound, seeds, aim=1.1, smollm2=real)


if __name__ == "__main__":
    main()
