"""The methods that the zoo compares: its own, and those of the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.rl.config import GroupConfig
from common.rl.harness import train_arm
from common.rl.trainer import GroupTrainer
from common.study.jobs import Record
from papers.fcp.method import FCPConfig
from papers.qae.method import QAEConfig, QAETrainer
from papers.rl_zvp.method import RLZVPConfig, RLZVPTrainer
from papers.zoo.method import DrGRPOConfig, DrGRPOTrainer
from papers.zoo.runs import fcp
from papers.zoo.runs.timing import seconds_per_batch


@dataclass(frozen=True)
class Method:
    """A trainer and its configuration.

    Attributes:
        trainer: The class.
        config: That of its arguments.
        train_arm: Trains and evaluates it; a method with a stage before the online one brings its own.
        seconds_per_batch: Times it, likewise.
    """

    trainer: type[GroupTrainer]
    config: type[GroupConfig]
    train_arm: Callable[..., Record] = train_arm
    seconds_per_batch: Callable[..., float] = seconds_per_batch


METHODS = {
    "group": Method(GroupTrainer, GroupConfig),
    "dr_grpo": Method(DrGRPOTrainer, DrGRPOConfig),
    "qae": Method(QAETrainer, QAEConfig),
    "rl_zvp": Method(RLZVPTrainer, RLZVPConfig),
    "fcp": Method(fcp.FCPTrainer, FCPConfig, fcp.train_arm, fcp.seconds_per_batch),
}
