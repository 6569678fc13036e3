"""The seam to the group trainers: rollouts sampled by the speculative engine."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import torch
from transformers import PreTrainedModel

from common.rl.trainer import GroupTrainer
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.verify import SamplingParams


class SpeculativeRollouts(GroupTrainer):
    """`GroupTrainer` that samples with a `SpeculativeGenerator`; a subclass says which in `speculation`.

    The completions have the distribution of plain sampling, not its random numbers. `last_generation` holds
    what the engine returned, for a draft that learns online.

    Raises:
        ValueError: an option of sampling that the engine does not know.
    """

    last_generation: Generation | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.speculates:
            self._check_sampling()

    @property
    def speculates(self) -> bool:
        """Completions come from an engine; a subclass that may leave them to the parent says when."""
        return True

    def _check_sampling(self) -> None:
        """Refuse what the engine would leave out without a word."""
        args = self.args
        unknown = {
            "top_k": args.top_k not in (0, None),
            "min_p": args.min_p not in (0.0, None),
            "repetition_penalty": args.repetition_penalty != 1.0,
            "generation_kwargs": bool(args.generation_kwargs),
            "cache_implementation": args.cache_implementation is not None,
            "decoder": args.decoder != "generate",
            "use_vllm": args.use_vllm,
            "use_transformers_continuous_batching": args.use_transformers_continuous_batching,
            "max_completion_length": args.max_completion_length is None,
            "rollout_func": self.rollout_func is not None,
            "tools": bool(self.tools),
            "images": self.has_images,
            "deepspeed": self.is_deepspeed_enabled,
            "fsdp": self.is_fsdp_enabled,
        }
        offending = ", ".join(name for name, on in unknown.items() if on)
        if offending:
            raise ValueError(
                "speculative rollouts sample with temperature, top_p and max_completion_length, in the "
                f"trainer's own process: leave {offending} at the default"
            )

    def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator | None:
        """The engine for the model as it is now; None leaves sampling to the parent class."""
        return None

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Called once per rollout batch, before rewards and update."""

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]] | None:
        """Runs of equal prompts are read once and sampled as often as they stand there."""
        policy = self.accelerator.unwrap_model(self.model)
        engine = self.speculation(policy)
        if engine is None:
            return super().complete(prompt_ids)
        runs = [(prompt, len(list(equal))) for prompt, equal in groupby(prompt_ids)]
        params = SamplingParams(
            self.max_completion_length, self.temperature, self.top_p, tuple(self.eos_token_ids)
        )
        device = self.accelerator.device
        training = policy.training
        policy.eval()
        self.last_generation = engine.generate(
            [torch.tensor(prompt, device=device) for prompt, _ in runs],
            params,
            samples=torch.tensor([count for _, count in runs], device=device),
            return_features=bool(engine.target.taps),
        )
        policy.train(training)
        self.after_generation(self.last_generation, prompt_ids)
        return [tokens.tolist() for tokens in self.last_generation.tokens]
