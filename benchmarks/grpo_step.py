"""A GRPO step with QAE advantages at one million parameters against stock TRL fed the same advantages.

Eight prompts x 16 completions, eight optimizer steps on each rollout batch. Ours skips rows without advantage
and padding, decodes with the lean sampler and scores the rollout batch in one forward pass. Stock TRL is
`GRPOTrainer` whose only change is the same line of advantages. Dense advantages (the mean baseline) are
measured beside: there nothing but silent groups and padding can be skipped.

Bounds: the update cannot take a smaller share of stock's time than its share of the token positions that
stock shows the model; the whole step cannot take less than that update with sampling and scoring for free.
The policy is the committed warm start inside a wider model that computes the same function, so that success
rates and lengths are those of a real training.
"""

from __future__ import annotations

from _measure import ratios, report, start

ARGUMENTS = start(__doc__, pairs=5)

import tempfile  # noqa: E402 (after the number of threads is set)
import time  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import PrinterCallback, Qwen3ForCausalLM, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

from common.models.pocket import load_pocket  # noqa: E402
from common.models.recipe import ModelShape, build_model  # noqa: E402
from common.rl.config import batching  # noqa: E402
from common.tasks import opchain  # noqa: E402
from papers.qae.method import QAEConfig, QAETrainer, quantile_advantages  # noqa: E402

PROMPTS, SAMPLES, MU = 8, 16, 8
WIDE = ModelShape(hidden=192, layers=2, heads=12, ffn=640)
LEVEL = 0.4
SHARED: dict[str, Any] = {
    **batching(PROMPTS, SAMPLES, MU),
    "max_completion_length": 32,
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "epsilon_high": 0.28,
    "loss_type": "dapo",
    "beta": 0.0,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
    "log_level": "error",
    "logging_steps": MU,
}
OURS = {"row_skipping": True, "decoder": "lean", "scoring_batch_size": PROMPTS * SAMPLES}


class StockQAE(GRPOTrainer):
    """Stock `GRPOTrainer`; the only change is that the advantages are those of QAE."""

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.rewards = super()._calculate_rewards(*args, **kwargs)
        return self.rewards

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        output["advantages"] = quantile_advantages(self.rewards[:, 0], SAMPLES, LEVEL)
        return output


ARMS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "ours": (QAETrainer, QAEConfig, {**OURS, "quantile_k": LEVEL}),
    "stock": (StockQAE, GRPOConfig, {}),
    "ours_dense": (QAETrainer, QAEConfig, {**OURS, "quantile_k": None}),
    "stock_dense": (GRPOTrainer, GRPOConfig, {}),
}


def widened(small: Qwen3ForCausalLM, tokenizer: Any) -> Qwen3ForCausalLM:
    """A model of shape `WIDE` that computes the function of `small`: zeros around its weights.

    A norm over the width sees the same sum of squares over more entries, so its gain shrinks by the root of
    the ratio of widths.
    """
    wide = build_model(WIDE, tokenizer, seed=0)
    gain = (small.config.hidden_size / WIDE.hidden) ** 0.5
    with torch.no_grad():
        for name, target in wide.named_parameters():
            source = small.get_parameter(name)
            corner = target.zero_()[tuple(slice(size) for size in source.shape)]
            corner.copy_(source * gain if source.shape != target.shape and source.ndim == 1 else source)
    return wide


class Stopwatch(TrainerCallback):
    """Seconds of the steps and of sampling inside them, and token positions that updates show the model."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.steps = self.sampling = 0.0
        self.positions = 0
        self.begin = 0.0
        self.rows_kept = 0.0
        sample = trainer._generate_and_score_completions
        trainer._generate_and_score_completions = lambda inputs: self._sample(sample, inputs)
        trainer.model.register_forward_pre_hook(self._look, with_kwargs=True)
        trainer.add_callback(self)

    def _sample(self, sample: Any, inputs: Any) -> Any:
        begin = time.perf_counter()
        output = sample(inputs)
        self.sampling += time.perf_counter() - begin
        self.rows_kept = float((output["advantages"] != 0).float().mean())
        return output

    def _look(self, _model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            self.positions += kwargs["input_ids"].numel()

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it; the optimizer has stepped."""
        self.steps += time.perf_counter() - self.begin


def measure(arm: str, seed: int, batches: int) -> Stopwatch:
    """Train a fresh copy of the policy on some rollout batches."""
    kind, config, fields = ARMS[arm]
    small, tokenizer = load_pocket("opchain-0")
    items = opchain.items(opchain.OpChainConfig(seed=seed, size=64))
    words = opchain.VOCABULARY

    def reward(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        return [
            float(opchain.reward([words[token] for token in ids], items[place]))
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder:
        trainer = kind(
            model=widened(small, tokenizer),
            reward_funcs=reward,
            args=config(output_dir=folder, seed=seed, max_steps=MU * batches, **SHARED, **fields),
            train_dataset=Dataset.from_dict(
                {"prompt": [item.prompt for item in items], "index": list(range(len(items)))}
            ),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        watch = Stopwatch(trainer)
        trainer.train()
    return watch


def compare(ours: list[Stopwatch], stock: list[Stopwatch]) -> dict[str, Any]:
    """Ratios of the whole step and of the update alone, with their bounds."""
    pairs = list(zip(ours, stock, strict=True))
    positions = sum(one.positions for one, _ in pairs) / sum(other.positions for _, other in pairs)
    updates = [[watch.steps - watch.sampling for watch in watches] for watches in (ours, stock)]
    share = sum(updates[1]) / sum(watch.steps for watch in stock)
    return {
        **ratios([watch.steps for watch in ours], [watch.steps for watch in stock]),
        "bound": round(positions * share, 4),
        "update_only": {**ratios(*updates), "bound": round(positions, 4)},
        "rows_kept": round(sum(watch.rows_kept for watch in ours) / len(ours), 4),
        "update_share_of_stock": round(share, 4),
    }


def main() -> None:
    """Time the four arms in turn, with other prompts in every round."""
    torch.set_num_threads(1)
    batches = 1 if ARGUMENTS.quick else 2
    seeds = [ARGUMENTS.seed + 1_000_000 * number for number in range(ARGUMENTS.pairs)]
    watches: dict[str, list[Stopwatch]] = {arm: [] for arm in ARMS}
    if not ARGUMENTS.quick:
        measure("ours", seeds[0], 1)  # the first training of a process also loads code
    for seed in seeds:
        for arm in ARMS:
            watches[arm].append(measure(arm, seed, batches))
    sparse = compare(watches["ours"], watches["stock"])
    dense = compare(watches["ours_dense"], watches["stock_dense"])
    size = widened(*load_pocket("opchain-0")).num_parameters()
    layout = {"prompts": PROMPTS, "samples": SAMPLES, "steps_per_batch": MU, "parameters": size}
    bound = sparse.pop("bound")
    name = "GRPO step with QAE advantages / stock TRL with the same advantages"
    report(name, sparse, bound, seeds, aim="<= 0.7", dense=dense, **layout)


if __name__ == "__main__":
    main()
