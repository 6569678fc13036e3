"""The tables of the card, in long form: row, column, mean, low, high, n (low and high NaN if exact).

Scores are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.records import average, final, scalar
from common.metrics.summary import Cell, estimate, long_table
from common.tasks.opchain import LEVELS
from papers.rl_zvp.arms import (
    ALPHA,
    FILTERS,
    MIXES,
    NAMES,
    at,
    batch_quarter,
    budget,
    drawdown,
    filtered,
    half,
    stop,
    tabular,
)
from papers.rl_zvp.enumeration import RATES
from papers.rl_zvp.experiment import ALPHAS, CONTROLS, PROFILES, TABULAR, Config

ABLATIONS = ("zvp", "no_negative", "no_positive", "unit", "grpo", *CONTROLS)
LANGUAGE_ARMS = {"grpo": "GRPO", "ds": "DS-r", "zvp": "RL-ZVP", "const": "const", "shuffle": "shuffle"}
FACTS = {
    "norm +": "positive_norm",
    "norm -": "negative_norm",
    "norm of the drift": "drift_norm",
    "rms +": "positive_rms",
    "rms -": "negative_rms",
    "cosine +": "positive_cosine",
    "cosine -": "negative_cosine",
    "cosine - (constant)": "constant_cosine",
}


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out Acc@8 and Pass@8 by OpChain level, both settings."""
    return long_table(
        (
            f"{mix}: {name}",
            f"{level} {kind}",
            estimate(100 * scalar(frame, mix, f"final/pass_at_{k}/{level}", arm=arm)),
        )
        for mix in MIXES
        for arm, name in LANGUAGE_ARMS.items()
        if mix == "easy" or arm in ("grpo", "ds", "zvp")
        for level in (*LEVELS, "all")
        for kind, k in {"Acc": 1, "Pass": 8}.items()
    )


def table2(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 at the end of the ablations and controls, both mixes."""
    return long_table(cell for arm in ABLATIONS for cell in _scores(frame, NAMES[arm], arm, ALPHA))


def table3(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 at the end over α; GRPO is α = 0."""

    def cells() -> Iterator[Cell]:
        yield from _scores(frame, "GRPO, alpha = 0", "grpo", ALPHA)
        for alpha in ALPHAS:
            yield from _scores(frame, f"RL-ZVP, alpha = {alpha:.2f}", "zvp", alpha)
        for alpha in ALPHAS:
            yield from _scores(frame, f"const, alpha = {alpha:.2f}", "const", alpha, ("hard",))

    return long_table(cells())


def table5(frame: pd.DataFrame) -> pd.DataFrame:
    """Rollouts, their factor to RL-ZVP's, and gradient steps of the tabular arms."""

    def cells() -> Iterator[Cell]:
        for mix, name, _, steps, rollouts in methods(frame):
            values = {
                "rollouts": rollouts,
                "factor": rollouts / budget(frame, mix),
                "gradient steps": steps * TABULAR["inner_steps"],
            }
            for column, numbers in values.items():
                yield f"{mix}: {name}", column, estimate(numbers)

    return long_table(cells())


def table6(_frame: pd.DataFrame) -> pd.DataFrame:
    """The hyperparameters of the laptop profile, language model and tabular policy."""
    config = Config(**PROFILES["laptop"])
    steps = config.batch // config.mini_batch
    values: dict[str, tuple[float, float]] = {
        "prompts per batch": (config.batch / config.group_size, config.tabular_prompts),
        "prompts per mini-batch": (config.mini_batch / config.group_size, config.tabular_prompts),
        "samples per prompt": (config.group_size, config.group_size),
        "max response length": (config.max_response, TABULAR["length"]),
        "clip low": (config.epsilon_low, config.epsilon_low),
        "clip high": (config.epsilon_high, config.epsilon_high),
        "training temperature": (1.0, 1.0),
        "validation temperature": (config.evaluation_temperature, np.nan),
        "validation top-p": (config.evaluation_top_p, np.nan),
        "gradient steps": (config.iterations * steps, config.tabular_iterations * TABULAR["inner_steps"]),
        "learning rate": (config.learning_rate, TABULAR["learning_rate"]),
        "alpha": (config.zvp_alpha, config.zvp_alpha),
    }
    columns = ("OpChain", "tabular policy")
    return long_table(
        (row, column, Interval(float(value), np.nan, np.nan, 0))
        for row, pair in values.items()
        for column, value in zip(columns, pair, strict=True)
    )


def averages(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 at the end of the six methods, both mixes."""
    return long_table(
        (f"{mix}: {name}", column, estimate(100 * values))
        for mix, name, scores, *_ in methods(frame)
        for column, values in scores.items()
    )


def facts(frame: pd.DataFrame) -> pd.DataFrame:
    """Size, direction and noise of both halves over enumerated policies."""
    found = {column: half(frame, name) for column, name in FACTS.items()}
    return long_table(
        (f"p = {rate:g}", column, estimate(policies[rate]))
        for rate in RATES
        for column, policies in found.items()
    )


def controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Every tabular arm: success (end, mean, largest drawdown), pass@8, entropy, zero-variance share."""

    def cells() -> Iterator[Cell]:
        for mix in (*MIXES, "unsolvable"):
            for arm in NAMES if mix != "unsolvable" else ("grpo", "zvp", "no_negative", "constant_max"):
                success, entropy, share = (
                    tabular(frame, name, mix, arm) for name in ("success", "entropy", "zero_variance")
                )
                columns = {
                    "success": 100 * scalar(frame, f"tabular_{mix}", "solvable", arm=arm, alpha=ALPHA),
                    "pass@8": 100 * scalar(frame, f"tabular_{mix}", "pass_at_8", arm=arm, alpha=ALPHA),
                    "mean success": 100 * average(success),
                    "largest drawdown": 100 * drawdown(success),
                    "entropy at the end": final(entropy),
                    "zero-variance share": batch_quarter(share),
                }
                for column, values in columns.items():
                    yield f"{mix}: {NAMES[arm]}", column, estimate(values)

    return long_table(cells())


def _scores(
    frame: pd.DataFrame, row: str, arm: str, alpha: float, mixes: tuple[str, ...] = MIXES
) -> Iterator[Cell]:
    for mix in mixes:
        yield row, f"{mix} Acc", estimate(100 * final(tabular(frame, "success", mix, arm, alpha)))
        pass_at_8 = tabular(frame, "pass_at_8", mix, arm, alpha).set_index("seed")["value"]
        yield row, f"{mix} Pass@8", estimate(100 * pass_at_8)


def methods(frame: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, pd.Series], pd.Series, pd.Series]]:
    """Mix, name, scores at the end, batches trained on and rollouts of the six methods of Table 5."""
    for mix in MIXES:
        for arm in ("grpo", "zvp"):
            success = tabular(frame, "success", mix, arm)
            passed = tabular(frame, "pass_at_8", mix, arm).set_index("seed")["value"]
            scores = {"Acc": final(success), "Pass@8": passed}
            batches = success.groupby("seed")["step"].max()
            rollouts = tabular(frame, "rollouts", mix, arm).set_index("seed")["value"]
            yield mix, NAMES[arm], scores, batches, rollouts
        for arm, name in FILTERS.items():
            names = {"Acc": "success", "Pass@8": "pass_at_8"}
            curves = {column: filtered(frame, series, mix, arm) for column, series in names.items()}
            rollouts = filtered(frame, "rollouts", mix, arm)
            whole = rollouts.groupby("seed")["step"].max()
            for suffix, steps in {"r": stop(frame, mix, arm), "g": whole}.items():
                scores = {column: at(curve, steps) for column, curve in curves.items()}
                yield mix, f"{name}-{suffix}", scores, steps, at(rollouts, steps)
