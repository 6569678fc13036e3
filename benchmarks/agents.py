"""Episodes in lock step against a loop over episodes with `model.generate`.

Both play the same worlds with the same policy: eight turns of at most eight tokens, answered with twelve. The
loop keeps no cache between turns, as a loop over `generate` does not. The texts differ, for `generate` has
other random numbers; their lengths have the same distribution. The bound is the loop's time over that of as
many bare forwards of a token a row as lock step takes, without a past, environments or sampling.
"""

from __future__ import annotations

from _measure import ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=5)

from typing import Any  # noqa: E402 (after the number of threads is set)

import gymnasium  # noqa: E402
import torch  # noqa: E402
from transformers import GenerationConfig  # noqa: E402

from common.agents.episodes import Codec, Rules, Trajectory, World  # noqa: E402
from common.agents.lockstep import play  # noqa: E402
from common.models.pocket import load_pocket  # noqa: E402
from common.rl.rollout import derived_generator  # noqa: E402

TURNS, TURN, ANSWER = 8, 8, 12
LONGEST = 20 + TURNS * (TURN + ANSWER)


class Fixed(gymnasium.Env[Any, Any]):
    """Answers with tokens of its seed, a fixed number of times."""

    def reset(self, *, seed: int | None = None, **_: Any) -> tuple[Any, dict[str, Any]]:
        self.tokens = torch.Generator().manual_seed(seed or 0)
        self.left = TURNS
        return self.answer(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.answer(), float(len(action)), self.left == 0, False, {}

    def answer(self) -> list[int]:
        return torch.randint(3, 20, (ANSWER,), generator=self.tokens).tolist()


def measure(rows: int, pairs: int, seed: int) -> tuple[dict[str, Any], float, float]:
    """Ratios of the seconds of the loop to those of lock step, the bound, and tokens per second."""
    model, tokenizer = load_pocket("opchain-0")
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    rules = Rules(ends=(eos,), turns=TURNS, turn_tokens=TURN, context=LONGEST)
    model.config.max_position_embeddings = LONGEST  # rotary: the texts are nonsense, only their length counts
    codec = Codec(observation=list, action=tuple)
    config = GenerationConfig(
        max_new_tokens=TURN, do_sample=True, top_k=0, top_p=1.0, eos_token_id=eos, pad_token_id=pad
    )
    written: list[Trajectory] = []

    def together() -> None:
        generators = [derived_generator(seed, row) for row in range(rows)]
        written[:] = play(model, [World(Fixed, row) for row in range(rows)], codec, rules, generators)

    @torch.no_grad()
    def one_by_one() -> None:
        for row in range(rows):
            env, over = Fixed(), False
            text = env.reset(seed=row)[0]
            while not over:
                ids = torch.tensor([text])
                longer = model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config
                )[0].tolist()
                observation, _, over, _, _ = env.step(longer[len(text) :])
                text = [*longer, *observation]

    torch.manual_seed(seed)
    together()
    times = [(seconds(one_by_one), seconds(together)) for _ in range(pairs)]
    loop, lockstep = zip(*times, strict=True)
    measured = ratios(loop, lockstep)
    tokens = sum(len(turn.action) for each in written for turn in each.turns)
    forwards = sum(max(len(each.turns[turn].action) for each in written) for turn in range(TURNS))
    bare = forwards * forward_seconds(model, rows)
    return measured, measured["seconds"][0] / bare, tokens / measured["seconds"][1]


@torch.no_grad()
def forward_seconds(model: Any, rows: int) -> float:
    """Seconds of a forward of one token a row, without a cache."""
    token = torch.ones(rows, 1, dtype=torch.long)
    return min(seconds(lambda: model(input_ids=token, use_cache=False)) for _ in range(20))


def main() -> None:
    """Measure at 32 episodes."""
    torch.set_num_threads(1)
    rows = 4 if ARGUMENTS.quick else 32
    measured, limit, speed = measure(rows, ARGUMENTS.pairs, ARGUMENTS.seed)
    report(
        "loop over episodes with model.generate / lock step",
        measured,
        round(limit, 2),
        [ARGUMENTS.seed],
        aim=5.0,
        rows=rows,
        turns=TURNS,
        tokens_per_second=round(speed),
    )


if __name__ == "__main__":
    main()
