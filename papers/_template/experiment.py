"""The study: configuration, profiles as differences from it, jobs by sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.study.configuration import Settings, paper
from common.study.jobs import Job


class Config(Settings):
    """Defaults are the paper's values, declared with the place that states them.

    Attributes:
        draws: Random instances on which the identity is checked.
        points: Points of the curve.
    """

    draws: int = paper(1000, "replace by the place, e.g. Table 6")
    points: int = 11


PROFILES: dict[str, dict[str, Any]] = {"smoke": {}, "laptop": {}, "gpu": {}, "paper": {}}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study; the sweeps are what the card's `needs` name."""
    arguments = {"draws": config.draws, "points": config.points}
    return [Job("theory", {}, "papers._template.runs.theory:variance", arguments, tuple(seeds[:1]))]
