"""Tier B: tabular agents on a lock of many turns, trained with PPO or GRPO and EPO, ablations and controls.

A token's distribution depends on few things: form on the task, an action on task and class of the stage. So
loss and gradient are those of the visited rows, exact for the sampled batch, and the equations are the ones
of `papers.epo.method` that the trainer uses. Every arm of a seed meets the same random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from common.agents.entropy_history import EntropyHistory, Reference
from common.agents.gradients import gradient_noise
from common.study.errors import unknown
from common.study.jobs import Job, Record
from common.tasks.cascade_lock import Combinations, Lock, combinations, success_probability
from common.tasks.lock_episodes import Episodes, action_rows, form_rows, roll_out, warm_start
from papers.epo.method import (
    Corridor,
    Schedule,
    beta_schedule,
    decay_weights,
    entropy,
    entropy_advantages,
    smoothing_penalty,
)

CLIP, EPSILON = 0.2, 1e-5  # PPO's range; Adam's epsilon, which keeps a bonus small where it is alone
CRITIC_RATE = 0.3
ENDS = 10  # turns that count as early, and as late
PROBES = (0.25, 0.5, 0.75)  # of the training, where gradients are compared


@dataclass(frozen=True)
class Arm:
    """What an arm adds to the policy loss.

    Attributes:
        bonus: Whether λ acts at all.
        corridor: The smoothing; α = 0 is EPO-Base.
        schedule: Of β.
        reference: ``"global"`` or ``"per_turn"``.
        include_current: The reference counts the current step.
        decay: ``"turns"`` or ``"training"`` for EPO-Decay.
        scattered: Control: the penalty's slopes go to random tokens of the batch.
        fixed: Control: the reference is the first step's entropy for good.
        shaping: α of EA; 0 is off.
        critic: PPO's advantages; otherwise GRPO's.
    """

    bonus: bool = True
    corridor: Corridor = field(default_factory=lambda: Corridor(alpha=0.0))
    schedule: Schedule = "paper"
    reference: Reference = "global"
    include_current: bool = False
    decay: str = ""
    scattered: bool = False
    fixed: bool = False
    shaping: float = 0.0
    critic: bool = True


PUBLISHED, WORKING = Corridor(), Corridor(0.5, 1.5, alpha=3.0)
ARMS: dict[str, Arm] = {
    "ppo": Arm(bonus=False),
    "base": Arm(),
    "epo": Arm(corridor=PUBLISHED),
    "epo10": Arm(corridor=Corridor(alpha=0.1)),
    "epo40": Arm(corridor=Corridor(alpha=0.4)),
    "epo1": Arm(corridor=Corridor(alpha=1.0)),
    "working": Arm(corridor=WORKING),
    "wide": Arm(corridor=Corridor(0.5, 1.5)),
    "narrow": Arm(corridor=Corridor(0.8, 1.2)),
    "indicator": Arm(corridor=Corridor(penalty="indicator")),
    "constant": Arm(corridor=Corridor(alpha=0.1), schedule="constant"),
    "code": Arm(corridor=Corridor(), schedule="code", reference="per_turn", include_current=True),
    "decay": Arm(decay="turns"),
    "decay_training": Arm(decay="training"),
    "ea": Arm(bonus=False, shaping=0.1),
    "random": Arm(corridor=PUBLISHED, scattered=True),
    "random_working": Arm(corridor=WORKING, scattered=True),
    "fixed": Arm(corridor=PUBLISHED, fixed=True),
    "grpo": Arm(bonus=False, critic=False),
    "grpo_base": Arm(critic=False),
    "grpo_epo": Arm(corridor=PUBLISHED, critic=False),
}
"""Arms of the study; EA has the scale that its paper takes for PPO."""


@dataclass(frozen=True)
class Training:
    """How all arms are trained.

    Attributes:
        regime: ``"plain"``, warm start uniform over wrong actions, or ``"decoy"``.
        steps: K.
        episodes: Of a step, in equal groups by task.
        inner: Optimizer steps on a batch.
        learning_rate: Adam's.
        coefficient: λ.
        right: Warm start's probability of the right action.
        classes: Classes of stages that share an action's logits; as many as stages share nothing.
        every: RL steps between exact evaluations, and between other measurements than that of entropy.
        batches: Of a gradient probe.
    """

    regime: str = "plain"
    steps: int = 100
    episodes: int = 128
    inner: int = 4
    learning_rate: float = 0.02
    coefficient: float = 0.001
    right: float = 0.28
    classes: int = 3
    every: int = 2
    batches: int = 64

    @property
    def lock(self) -> Lock:
        """Sizes of the lock."""
        return Lock(classes=self.classes)


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point of an arm.

    Config: fields of `Training`, and `arm`, a key of `ARMS`.

    Emits the series ``entropy`` over K steps (of the batch's tokens, nats). At every `every`-th step:
    ``early`` and ``late`` (of the first and last ten turns; NaN where none is played), ``above`` and
    ``below`` (shares of tokens outside the corridor, before the update). Over K / every + 1 policies:
    ``success``, exact.

    Raises:
        StudyError: unknown arm or regime.
    """
    if job.config["arm"] not in ARMS:
        raise unknown("arm", job.config["arm"], ARMS)
    runs = [_run(job.read(Training), ARMS[job.config["arm"]], seed) for seed in job.seeds]
    return Record(series={name: np.array([run[name] for run in runs]) for name in runs[0]})


def probe(job: Job, _workspace: Path) -> Record:
    """Entry point: gradients of several arms' losses on the same fresh batches, at checkpoints of EPO-Base.

    Config: fields of `Training`.

    Emits for each arm the series ``variation`` over checkpoints: the root of the trace of the covariance of
    one batch's gradient over the norm of the mean.
    """
    training = job.read(Training)
    found: dict[str, list[list[float]]] = {"base": [], "epo": [], "random": []}
    wanted = {int(share * training.steps) for share in PROBES}
    for seed in job.seeds:
        agent = Agent(training, ARMS["base"], seed)
        for curves in found.values():
            curves.append([])
        for step in range(max(wanted) + 1):
            if step in wanted:
                for name, curves in found.items():
                    curves[-1].append(agent.variation(ARMS[name], step))
            agent.step(step)
    parts = [({"arm": name}, Record(series={"variation": np.array(own)})) for name, own in found.items()]
    return Record(parts=parts)


def _run(training: Training, arm: Arm, seed: int) -> dict[str, list[float]]:
    agent = Agent(training, arm, seed)
    series: dict[str, list[float]] = {}
    success = [agent.success()]
    for step in range(training.steps):
        for name, value in agent.step(step).items():
            if name == "entropy" or step % training.every == 0:
                series.setdefault(name, []).append(value)
        if (step + 1) % training.every == 0:
            success.append(agent.success())
    return series | {"success": success}


@dataclass(frozen=True)
class Visits:
    """How much each row counts in EPO's averages over trajectories, turns and tokens.

    Attributes:
        rows: Row of each token that was played.
        turns: Its turn.
        shares: Its weight, 1 / (E T_j (F+1)); they sum to 1.
        order: A random order of the tokens, for the control that scatters the penalty.
        mass: The weights by row and turn.
    """

    rows: Int[Tensor, " N"]
    turns: Int[Tensor, " N"]
    shares: Float[Tensor, " N"]
    order: Int[Tensor, " N"]
    mass: Float[Tensor, "R T"]

    @classmethod
    def of(cls, episodes: Episodes, count: int, order: np.random.Generator) -> Visits:
        """Those of a batch; `count` is the number of rows."""
        alive, width = episodes.alive, episodes.rows.shape[-1]
        rows = torch.from_numpy(episodes.rows[alive].reshape(-1))
        turns = torch.from_numpy(np.nonzero(alive)[0].repeat(width))
        played = np.broadcast_to(alive.sum(0), alive.shape)[alive]
        shares = torch.from_numpy((1.0 / (alive.shape[1] * played * width)).repeat(width))
        mass = torch.zeros(count, len(alive), dtype=torch.float64)
        mass.index_put_((rows, turns), shares, accumulate=True)
        return cls(rows, turns, shares, torch.from_numpy(order.permutation(len(rows))), mass)

    def penalty(
        self, entropies: Float[Tensor, "R 1"], reference: Float[Tensor, " K"], corridor: Corridor
    ) -> Float[Tensor, ""]:
        """The average of P (Eq. 4); the reference is one number, or one per turn."""
        return (self.mass * smoothing_penalty(entropies, reference[None], corridor)).sum()

    def scattered(
        self, entropies: Float[Tensor, "R 1"], reference: Float[Tensor, " K"], corridor: Corridor
    ) -> Float[Tensor, ""]:
        """As many tokens pushed as the penalty pushes, the same way, but random ones."""
        own = entropies.detach()
        slopes = (own > corridor.high * reference).double() - (own < corridor.low * reference).double()
        slopes = slopes.expand(self.mass.shape)[self.rows, self.turns][self.order]
        return (self.shares * slopes * entropies[self.rows, 0]).sum()


class Agent:
    """A tabular policy and critic, and the history of its entropies.

    Args:
        training: How it is trained.
        arm: What it is trained with.
        seed: Of combinations and sampling.
    """

    def __init__(self, training: Training, arm: Arm, seed: int) -> None:
        self.training, self.arm, self.seed, self.lock = training, arm, seed, training.lock
        self.keys: Combinations = combinations(self.lock, seed)
        self.logits = nn.Parameter(
            torch.from_numpy(warm_start(self.lock, self.keys, training.regime, training.right))
        )
        self.values = np.zeros((self.lock.tasks, self.lock.stages))
        self.history = EntropyHistory(arm.reference, arm.include_current)
        self.optimizer = torch.optim.Adam([self.logits], lr=training.learning_rate, eps=EPSILON)

    def step(self, step: int) -> dict[str, float]:
        """One RL step: roll out, then `inner` updates; what the batch showed."""
        episodes = self.roll_out(step)
        entropies = entropy(self.logits.detach())
        seen = self._seen(episodes, entropies)
        whole = _means(episodes, entropies) if self.arm.reference == "per_turn" else [seen["entropy"]]
        if not (self.arm.fixed and self.history.means):
            self.history.append(torch.tensor(whole), self.lock.turns)
        loss = self.objective(episodes, self.arm, step)
        shares = self._shares(episodes, entropies, step)
        for _ in range(self.training.inner):
            self.optimizer.zero_grad()
            loss().backward()
            self.optimizer.step()
        self._fit_critic(episodes)
        return seen | shares

    def roll_out(self, step: int, batch: int = 0) -> Episodes:
        """Episodes under the policy as it is; the random numbers of a step are those of every arm."""
        generator = np.random.default_rng([self.seed, 0xE90, step, batch])
        probabilities = self.logits.detach().softmax(-1).numpy()
        return roll_out(probabilities, self.lock, self.keys, self.training.episodes, generator)

    def objective(self, episodes: Episodes, arm: Arm, step: int) -> Callable[[], Tensor]:
        """The loss of the batch as a function of the logits as they are when it is called.

        Clipped tokens are pooled by row, symbol and sign of the advantage, which is exact.
        """
        old = self.logits.detach().clone()
        order = np.random.default_rng([self.seed, 0x0D3, step])
        visits = Visits.of(episodes, len(old), order)
        gains, base = self._gains(episodes, arm, entropy(old)), old.log_softmax(-1)
        return partial(self._loss, gains, base, visits, arm, self.history.current(step), step)

    def _loss(
        self,
        gains: tuple[Tensor, Tensor],
        old: Tensor,
        visits: Visits,
        arm: Arm,
        reference: Tensor | None,
        step: int,
    ) -> Tensor:
        ratio = (self.logits.log_softmax(-1) - old).exp()
        policy = -(gains[0] * ratio.clamp(max=1 + CLIP) - gains[1] * ratio.clamp(min=1 - CLIP)).sum()
        if not arm.bonus:
            return policy
        entropies, corridor = entropy(self.logits)[:, None], arm.corridor
        bonus = (self._weights(visits, arm, step) * entropies).sum()
        if reference is None or not corridor.alpha:
            return policy - self.training.coefficient * bonus
        beta = beta_schedule(step, self.training.steps, arm.schedule)
        kind = visits.scattered if arm.scattered else visits.penalty
        smoothed = kind(entropies, reference, corridor)
        return policy - self.training.coefficient * (bonus - beta * corridor.alpha * smoothed)

    def _weights(self, visits: Visits, arm: Arm, step: int) -> Tensor:
        """Of the bonus by row and turn."""
        if arm.decay == "turns":
            return visits.mass * decay_weights(torch.arange(self.lock.turns), self.lock.turns)
        return (
            visits.mass * decay_weights(torch.tensor(step), self.training.steps) if arm.decay else visits.mass
        )

    def _gains(self, episodes: Episodes, arm: Arm, entropies: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of positive and of negative advantages (as a size) by row and symbol, over all tokens."""
        alive = episodes.alive
        if arm.critic:
            advantages = episodes.success - self.values[episodes.task, episodes.stages]
            own = advantages[alive]
            advantages = (advantages - own.mean()) / (own.std() + 1e-8)
        else:
            groups = episodes.success.reshape(self.lock.tasks, -1).astype(float)
            centred = (groups - groups.mean(1, keepdims=True)) / (groups.std(1, keepdims=True) + 1e-4)
            advantages = np.broadcast_to(centred.reshape(-1), alive.shape)
        rows, symbols = episodes.rows[alive], episodes.symbols[alive]
        shaped = torch.from_numpy(advantages[alive].copy())[:, None].expand(rows.shape)
        if arm.shaping:
            shaped = entropy_advantages(shaped, entropies[rows], arm.shaping)
        sums = np.zeros((2, *self.logits.shape))
        for part, sign in zip(sums, (1, -1), strict=True):
            np.add.at(part, (rows, symbols), np.maximum(sign * shaped.numpy(), 0.0))
        positive, negative = torch.from_numpy(sums / rows.size)
        return positive, negative

    def _fit_critic(self, episodes: Episodes) -> None:
        """Move V(task, stage) towards the mean return of its visits."""
        alive = episodes.alive
        task, success = (
            np.broadcast_to(each, alive.shape)[alive] for each in (episodes.task, episodes.success)
        )
        places = (task, episodes.stages[alive])
        sums, counts = np.zeros_like(self.values), np.zeros_like(self.values)
        np.add.at(sums, places, success)
        np.add.at(counts, places, 1)
        seen = counts > 0
        self.values[seen] += CRITIC_RATE * (sums[seen] / counts[seen] - self.values[seen])

    def _seen(self, episodes: Episodes, entropies: Tensor) -> dict[str, float]:
        values = entropies.numpy()[episodes.rows].mean(-1)
        ends = {"early": slice(0, ENDS), "late": slice(self.lock.turns - ENDS, None)}
        parts = {name: values[part][episodes.alive[part]] for name, part in ends.items()}
        means = {name: float(part.mean()) if part.size else np.nan for name, part in parts.items()}
        return {
            "entropy": float(values[episodes.alive].mean()),
            **means,
        }

    def _shares(self, episodes: Episodes, entropies: Tensor, step: int) -> dict[str, float]:
        reference = self.history.current(step)
        if reference is None or not self.arm.corridor.alpha:
            return {"above": 0.0, "below": 0.0}
        tokens, corridor = entropies[episodes.rows[episodes.alive]], self.arm.corridor
        bound = reference[torch.from_numpy(np.nonzero(episodes.alive)[0]).clamp(max=len(reference) - 1), None]
        return {
            "above": float((tokens > corridor.high * bound).double().mean()),
            "below": float((tokens < corridor.low * bound).double().mean()),
        }

    def success(self) -> float:
        """Exact probability that the lock opens, mean over tasks."""
        lock, probabilities = self.lock, self.logits.detach().softmax(-1).numpy()
        form = probabilities[form_rows(lock), self.keys.form].prod(-1)
        actions = probabilities[action_rows(lock), self.keys.actions]
        pairs = zip(actions, form, strict=True)
        return float(np.mean([success_probability(lock, action, formed) for action, formed in pairs]))

    def variation(self, arm: Arm, step: int) -> float:
        """Noise of the gradient of an arm's loss over the size of its mean, at the policy as it is."""
        losses = (
            self.objective(self.roll_out(step, batch), arm, step)
            for batch in range(1, self.training.batches + 1)
        )
        noise = gradient_noise([self.logits], losses)
        return float(noise.noise**0.5 / noise.mean.norm())


def _means(episodes: Episodes, entropies: Tensor) -> list[float]:
    """Mean entropy of each turn that any episode plays."""
    values = entropies.numpy()[episodes.rows].mean(-1)
    played = episodes.alive.any(axis=1)
    pairs = zip(values[played], episodes.alive[played], strict=True)
    return [float(turn[alive].mean()) for turn, alive in pairs]
