"""The seam to the group trainers: a prompt names a world, a completion is an episode in it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from common.agents.episodes import OUTCOMES, Codec, Rules, Trajectory, World
from common.agents.lockstep import play
from common.rl.rollout import Rollout, derived_generator
from common.rl.trainer import GroupTrainer, Inputs


@dataclass(frozen=True)
class AgentRollout(Rollout):
    """A rollout that knows its turns from the episodes, also those that no observation separates.

    Attributes:
        turn_ids: Turn of each token, -1 on padding.
        trajectories: This process's episodes.
    """

    turn_ids: Int[Tensor, "B T"] | None = None
    trajectories: tuple[Trajectory, ...] = ()

    @property
    def turns(self) -> Int[Tensor, "B T"]:
        """Turn of each token; an observation belongs to the turn that it answers, padding to -1."""
        return super().turns if self.turn_ids is None else self.turn_ids


def episode_return(returns: list[float], **_: Any) -> list[float | None]:
    """The sum of an episode's rewards, as TRL calls it; no reward where an environment broke."""
    return [None if value != value else value for value in returns]


class AgentTrainer(GroupTrainer):
    """`GroupTrainer` on episodes of many turns: their observations are read and never trained on.

    An episode is one row, whatever its turns; a row whose environment broke has no reward, hence advantage 0.
    Logs the share of each outcome (``episodes/<outcome>``) and the mean number of turns (``episodes/turns``).

    Args:
        worlds: The world of a prompt: the dataset's prompts name worlds, what the policy reads comes from the
            environment.
        codec: Between tokens and the environments.
        rules: Limits of an episode; the temperature is the configuration's.

    Raises:
        ValueError: an option of sampling that the episodes do not know.
    """

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = episode_return,
        *rest: Any,
        worlds: Callable[[Any], World],
        codec: Codec,
        rules: Rules,
        **others: Any,
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*'rollout_func'")  # TRL is pinned
            super().__init__(model, reward_funcs, *rest, rollout_func=_play, **others)
        self.worlds, self.codec = worlds, codec
        self.rules = replace(rules, temperature=self.temperature)
        self.trajectories: list[Trajectory] = []
        self._check_sampling()

    def _check_sampling(self) -> None:
        """Refuse what the episodes would leave out without a word."""
        args = self.args
        unknown = {
            "top_p": args.top_p != 1.0,
            "top_k": args.top_k not in (0, None),
            "min_p": args.min_p not in (0.0, None),
            "repetition_penalty": args.repetition_penalty != 1.0,
            "generation_kwargs": bool(args.generation_kwargs),
            "decoder": args.decoder != "generate",
            "use_vllm": args.use_vllm,
            "use_transformers_continuous_batching": args.use_transformers_continuous_batching,
            "mask_truncated_completions": args.mask_truncated_completions,
            "dynamic_sampling_rounds": args.dynamic_sampling_rounds > 0,
            "tools": bool(self.tools),
            "images": self.has_images,
            "deepspeed": self.is_deepspeed_enabled,
            "fsdp": self.is_fsdp_enabled,
            "rules.memory": self.rules.memory is not None,
        }
        offending = ", ".join(name for name, on in unknown.items() if on)
        if offending:
            raise ValueError(
                "episodes are one row each and sampled with a temperature, in the trainer's own process: "
                f"leave {offending} at the default"
            )

    def play(self, prompts: list[Any]) -> list[Trajectory]:
        """An episode in the world of each prompt, under the policy as it is now.

        Its random numbers are those of (seed, pass, process, row), so that a resumed run repeats them.
        """
        policy = self.accelerator.unwrap_model(self.model)
        keys = (self.args.seed, self.passes_done, self.accelerator.process_index)
        training = policy.training
        policy.eval()
        trajectories = play(
            policy,
            [self.worlds(prompt) for prompt in prompts],
            self.codec,
            self.rules,
            [derived_generator(*keys, row) for row in range(len(prompts))],
        )
        policy.train(training)
        return trajectories

    def rollout(self, prompts: Inputs) -> AgentRollout:
        """TRL's batch of the episodes, with their turns and rewards by turn."""
        rollout = super().rollout(prompts)
        trajectories = tuple(self.trajectories)
        self._log_outcomes(trajectories)
        width, device = rollout.completion_ids.shape[1], rollout.completion_ids.device
        turns = _padded([each.turn_ids for each in trajectories], -1, width).to(device)
        rewards = [[turn.reward for turn in each.turns] for each in trajectories]
        longest = max(1, *map(len, rewards))
        by_turn = _padded(rewards, float("nan"), longest).to(device)
        given = {each.name: getattr(rollout, each.name) for each in fields(rollout)}
        given |= {"turn_rewards": by_turn, "turn_ids": turns, "trajectories": trajectories}
        return AgentRollout(**given)

    def _log_outcomes(self, trajectories: tuple[Trajectory, ...]) -> None:
        counts = Counter(each.outcome for each in trajectories)
        numbers = [*(counts[outcome] for outcome in OUTCOMES), sum(len(each.turns) for each in trajectories)]
        totals = self.sum_over_processes(torch.tensor(numbers, dtype=torch.float32)).tolist()
        episodes = sum(totals[:-1])
        for name, total in zip((*OUTCOMES, "mean_turns"), totals, strict=True):
            self.log_metric(f"episodes/{name}", total / episodes)


def _play(prompts: list[Any], trainer: AgentTrainer) -> dict[str, Any]:
    """The episodes of a rollout batch, as TRL takes them from a rollout function.

    TRL needs a token in every prompt and completion: an episode that never began has one of padding, which
    the mask leaves out.
    """
    trainer.trajectories = trajectories = trainer.play(prompts)
    filler = [trainer.tokenizer.pad_token_id]
    return {
        "prompt_ids": [each.prompt or filler for each in trajectories],
        "completion_ids": [each.completion or filler for each in trajectories],
        "env_mask": [each.mask or [0] for each in trajectories],
        "logprobs": None,
        "returns": [each.reward for each in trajectories],
    }


def _padded(rows: list[list[Any]], filler: float, width: int) -> Tensor:
    """Rows of numbers, padded on the right."""
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])
