"""Steering by a value: what it does to unsafe responses, and to the language of all others.

Every control acts on the same prompts. Those with a knob of their own choose it on validation prompts by one
rule: the radius (for RE-Control, the step) with the largest share of responses that stay safe *and* intact.
The others move as far as RL-BRT-Align may.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from common.models.hidden_states import Override
from common.models.responses import Written, compare, intact, measured
from common.models.subject import Rollouts, Subject
from common.speculative.clock import clock_of
from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.brt_align.method import BRTConfig, LeastRestrictiveFilter, REControl, SafetyValueModel
from papers.brt_align.runs.detection import detector, fit
from papers.brt_align.runs.rollouts import prepared

ASCENT = 30  # steps of RE-Control


@dataclass(frozen=True)
class Control:
    """How an arm steers.

    Attributes:
        detector: Whose value; a key of `DETECTORS`.
        how: The ``"filter"``, in a ``"random"`` direction, ``"always"`` on, or RE-Control's ``"ascent"``.
        tuned: It chooses its own radius; otherwise it has that of ``rl``.
        samples: Of the filter.
    """

    detector: str = "rl"
    how: Literal["filter", "random", "always", "ascent"] = "filter"
    tuned: bool = False
    samples: int = 64


CONTROLS: dict[str, Control] = {
    "rl": Control(tuned=True),
    "final": Control("final", tuned=True),
    "sap": Control("sap", tuned=True),
    "recontrol": Control("recontrol", "ascent", tuned=True),
    "random": Control(how="random"),
    "always": Control(how="always"),
    "classifier": Control("classifier"),
    "shuffled": Control("shuffled"),
}
"""Arms of steering; the first one sets the radius of those that choose none."""


def steer(job: Job, _workspace: Path) -> Record:
    """Entry point: every control of one seed, as parts by ``arm``.

    Config: of `prepared`; `arms`, keys of `CONTROLS` that begin with ``rl``; `gamma` and `epochs`; `radii`,
    in units of the median norm of a state, and `tuning`, how many validation prompts they are chosen on.

    Emits for each arm what `common.models.responses.compare` returns and ``radius``; for arms that choose,
    the series ``tuning_unsafe`` and ``tuning_intact`` over the radii. Beside the arms ``rate`` and ``legal``,
    unsteered.

    Raises:
        StudyError: an unknown arm.
    """
    subject, (train, validation, test) = prepared(job)
    bench = Bench(subject, train, job)
    trial = validation.part(slice(int(job.config["tuning"])))
    tried, plain = bench.plain(trial.given), bench.plain(test.given)
    radius, parts = 0.0, []
    for arm in job.config["arms"]:
        control, own = named(arm), radius
        series: dict[str, list[float]] = {}
        if control.tuned:
            own, series = bench.tune(control, tried)
            radius = radius or own
        record = compare(bench.steered(control, own, plain.given), plain)
        parts.append(({"arm": arm}, Record.of_one_seed(record | {"radius": own}, series)))
    about = {"rate": float(plain.unsafe.double().mean()), "legal": float(plain.legal.mean())}
    return replace(Record.of_one_seed(about, {}), parts=parts)


def speed(job: Job, _workspace: Path) -> Record:
    """Entry point: tokens per second of unsteered, recording and steered writing, timed in turn, by ``arm``.

    Config: as `steer`, and `rounds` of the clock; every arm has the largest radius.

    Emits the scalar ``tokens`` (per second of the thread's own time, the best of the rounds).
    """
    subject, (train, _, test) = prepared(job)
    bench, given = Bench(subject, train, job), test.given
    arms: dict[str, dict[str, Any]] = {"none": {}, "recording": {"taps": subject.layers}}
    for arm, control in {name: named(name) for name in job.config["arms"]}.items():
        arms[arm] = {"overrides": bench.overrides(control, job.config["radii"][-1])}
    fewer = replace(CONTROLS["rl"], samples=ASCENT)
    arms["rl_30"] = {"overrides": bench.overrides(fewer, job.config["radii"][-1])}
    now, best = clock_of(subject.model.device), dict.fromkeys(arms, 0.0)
    for _ in range(int(job.config["rounds"])):
        for arm, options in arms.items():
            start = now()
            written = int(subject.write(given, **options).mask.sum())
            best[arm] = max(best[arm], written / (now() - start))
    parts = [({"arm": arm}, Record.of_one_seed({"tokens": rate}, {})) for arm, rate in best.items()]
    return Record(parts=parts)


def named(arm: str) -> Control:
    """A control by name.

    Raises:
        StudyError: unknown.
    """
    if arm not in CONTROLS:
        raise unknown("control", arm, CONTROLS)
    return CONTROLS[arm]


class Bench:
    """One subject with the values of its controls, each fitted when it is first asked for."""

    def __init__(self, subject: Subject, train: Rollouts, job: Job) -> None:
        self.subject, self.train, self.job = subject, train, job
        self.values: dict[tuple[str, int], SafetyValueModel] = {}

    def layer(self, control: Control) -> int:
        """RE-Control changes the last one, all others the first that is recorded."""
        return self.subject.depth if control.how == "ascent" else self.subject.layers[0]

    def value(self, control: Control) -> SafetyValueModel:
        """The value that a control climbs."""
        layer = self.layer(control)
        if (control.detector, layer) not in self.values:
            own = detector(control.detector, self.job.config["gamma"])
            states = self.train.hidden[layer].float()
            self.values[control.detector, layer] = fit(own, self.train, states, self.job)
        return self.values[control.detector, layer]

    def overrides(self, control: Control, radius: float) -> dict[int, Override]:
        """What edits the hidden states; the radius is in units of the median norm of a state."""
        layer, value = self.layer(control), self.value(control)
        distance = radius * self.train.norm(layer)
        if control.how == "ascent":
            return {layer: REControl(value, distance, ASCENT)}
        always = control.how == "always"
        config = BRTConfig(epsilon=distance, samples=control.samples, always=always)
        generator = torch.Generator().manual_seed(self.job.seeds[0])
        direction: Literal["random", "value"] = "random" if control.how == "random" else "value"
        return {layer: LeastRestrictiveFilter(value, config, generator, direction)}

    def plain(self, given: list[Any]) -> Written:
        """Unsteered responses, in the batch that the steered ones are written in."""
        return measured(self.subject, given, self.subject.write(given))

    def steered(self, control: Control, radius: float, given: list[Any]) -> Written:
        """Steered responses."""
        found = self.subject.write(given, self.overrides(control, radius))
        return measured(self.subject, given, found)

    def tune(self, control: Control, plain: Written) -> tuple[float, dict[str, list[float]]]:
        """The radius with the most responses that are safe and intact, the smallest of equals."""
        radii = self.job.config["radii"]
        found = [self.steered(control, radius, plain.given) for radius in radii]
        kept = [float((~own.unsafe & intact(own, plain)).double().mean()) for own in found]
        series = {
            "tuning_unsafe": [float(own.unsafe.double().mean()) for own in found],
            "tuning_intact": [float(intact(own, plain).double().mean()) for own in found],
        }
        return radii[int(np.argmax(kept))], series
