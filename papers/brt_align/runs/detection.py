"""Monitors on hidden states: how early and how surely they tell that a response will become unsafe.

What monitors are compared in differs in one place each: what they read, what they are fitted to, with which
loss. All are fitted to the same training rollouts, get their thresholds on validation prompts, and are judged
on test prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from common.models.monitoring import bags, frequent, judge
from common.models.subject import Rollouts
from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.brt_align.method import (
    BRTConfig,
    SafetyPolytope,
    SafetyValueModel,
    Terminal,
    differences,
    fit_value,
    hinge,
    lead_time_bound,
    squared,
    targets,
)
from papers.brt_align.runs.rollouts import prepared

BATCH = 512  # states
EVERY = 2  # states of a rollout that values are fitted to
Values = Callable[[Rollouts], Float[Tensor, "N T"]]
"""From rollouts to one number a state; positive is safe."""


@dataclass(frozen=True)
class Detector:
    """What makes a monitor.

    Attributes:
        reads: The ``"state"``, the ``"first"`` one of the response for all of it (what the prompt tells), or
            the ``"bag"`` of words of prompt and text.
        config: The target of values, as of `BRTConfig`.
        widths: Of the hidden layers; none is a linear probe.
        loss: ``"squared"``, ``"hinge"`` of the polytope, or ``"differences"`` of RE-Control.
        terminal: Where RE-Control's reward stands.
        shuffled: Control: margins of other ``"rows"``, or the targets of a row in another order (``"time"``).
    """

    reads: Literal["state", "first", "bag"] = "state"
    config: BRTConfig = field(default_factory=BRTConfig)
    widths: tuple[int, ...] = (128, 128)
    loss: Literal["squared", "hinge", "differences"] = "squared"
    terminal: Terminal = "last"
    shuffled: Literal["", "rows", "time"] = ""


FINAL = BRTConfig("final")
DETECTORS: dict[str, Detector] = {
    "rl": Detector(),
    "time": Detector(shuffled="time"),
    "final": Detector(config=FINAL),
    "future_min": Detector(config=BRTConfig("future_min")),
    "classifier": Detector(config=BRTConfig(gamma=0.0)),
    "recontrol": Detector(loss="differences"),
    "recontrol_code": Detector(loss="differences", terminal="as_coded"),
    "sap": Detector(config=FINAL, loss="hinge"),
    "probe": Detector(config=FINAL, widths=()),
    "bag": Detector("bag", FINAL, ()),
    "prompt": Detector("first", FINAL, ()),
    "shuffled": Detector(shuffled="rows"),
    "shuffled_final": Detector(config=FINAL, shuffled="rows"),
}
"""Monitors of the study; the exact risk, where it is known, is one more."""


def detect(job: Job, _workspace: Path) -> Record:
    """Entry point: monitors of one seed, as parts by ``arm`` and ``gamma``.

    Config: of `prepared`; `arms`, keys of `DETECTORS`; `gammas` and `epochs`.

    Emits for each arm what `common.models.monitoring.judge` does, and ``bound`` (k*); beside the arms
    ``rate`` (of unsafe responses) and ``legal`` (share of tokens that the language allows).

    Raises:
        StudyError: an unknown arm.
    """
    subject, (train, validation, test) = prepared(job)
    parts = []
    for gamma in job.config["gammas"]:
        arms = {arm: detector(arm, gamma) for arm in job.config["arms"]}
        monitors = {arm: fitted(own, train, job, subject.layers[0]) for arm, own in arms.items()}
        if bool(subject.exact(test.part(slice(1))).isfinite().all()):
            monitors["exact"] = subject.exact
        for arm, values in monitors.items():
            scalars, series = judge(values(validation), validation, values(test), test)
            scalars["bound"] = lead_time_bound(gamma, 1.0, 1.0)
            parts.append(({"arm": arm, "gamma": gamma}, Record.of_one_seed(scalars, series)))
    about = {
        "rate": float(test.unsafe.double().mean()),
        "legal": float(subject.legal(test.given, test.ids, test.mask).mean()),
    }
    return replace(Record.of_one_seed(about, {}), parts=parts)


def detector(arm: str, gamma: float) -> Detector:
    """One of `DETECTORS`; those that discount do so by γ.

    Raises:
        StudyError: unknown.
    """
    if arm not in DETECTORS:
        raise unknown("monitor", arm, DETECTORS)
    own = DETECTORS[arm]
    return replace(own, config=replace(own.config, gamma=own.config.gamma and gamma))


def fitted(own: Detector, train: Rollouts, job: Job, layer: int) -> Values:
    """A monitor, fitted to training rollouts."""
    words = frequent(train)

    def read(rollouts: Rollouts) -> Float[Tensor, "N T F"]:
        if own.reads == "bag":
            return bags(rollouts, words)
        states = rollouts.hidden[layer].float()
        return states if own.reads == "state" else states[:, :1].expand_as(states)

    value = fit(own, train, read(train), job)
    return lambda rollouts: value(read(rollouts))


def fit(own: Detector, train: Rollouts, states: Float[Tensor, "N T F"], job: Job) -> SafetyValueModel:
    """The value model of a monitor; `states` are what it reads."""
    (seed,), mask = job.seeds, train.mask.bool()
    generator, margin = torch.Generator().manual_seed(seed), train.margin
    if own.shuffled == "rows":
        margin = margin[torch.randperm(len(margin), generator=generator)]
    wanted = targets(margin, train.mask, own.config)
    if own.shuffled == "time":
        order = torch.rand(wanted.shape, generator=generator).where(mask, torch.inf).argsort(dim=1)
        wanted = wanted.gather(1, order)
    chosen = mask & (torch.arange(mask.shape[1]) % EVERY == 0)
    shown, rows, batch = states[chosen], int(chosen.sum()), BATCH
    loss = squared(shown, wanted[chosen])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        value = SafetyPolytope(shown) if own.loss == "hinge" else SafetyValueModel(shown, own.widths)
    if own.loss == "hinge":
        loss = hinge(shown, wanted[chosen] > 0)
    elif own.loss == "differences":
        reward = torch.where(train.unsafe, -1.0, 1.0)
        loss = differences(states, train.mask, reward, own.terminal)
        rows, batch = len(states), max(1, BATCH // mask.shape[1])
    return fit_value(value, loss, rows, seed, int(job.config["epochs"]), batch)
