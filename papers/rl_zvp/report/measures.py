"""Arms of RL-ZVP, what is measured of them, and the claims of the card.

Differences are paired by seed. For facts about enumerated policies a policy takes the place of a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from common.study.audits import Audit, number, possible, reported
from common.study.card import load_card
from common.study.frame import Errors, after, final, learning_curve, rows, scalar
from common.study.report import Measure
from papers.rl_zvp.experiment import Config

# Arms

ALPHA = Config().objective.zvp_alpha
MIXES = ("easy", "hard")
NAMES = {
    "grpo": "GRPO",
    "zvp": "RL-ZVP",
    "no_negative": "w/o negative prompts",
    "no_positive": "w/o positive prompts",
    "unit": "w/o entropy scaling (±1)",
    "alpha": "±alpha",
    "const": "const",
    "shuffle": "shuffle",
    "sym": "sym (-alpha H on negatives)",
    "constant_max": "constant in place of max H",
    "flip": "sign-flip",
    "small": "RL-ZVP, alpha = 0.1",
    "ds": "DS-r",
}
FILTERS = {"ds": "DS", "greso": "GRESO"}
FIRST = 2  # batches that count as the start of a language-model run


def tabular(frame: pd.DataFrame, name: str, mix: str, arm: str, alpha: float = ALPHA) -> pd.DataFrame:
    """`rows` of a tabular arm that trains on every prompt."""
    return rows(frame, f"tabular_{mix}", name, arm=arm, alpha=alpha)


def filtered(frame: pd.DataFrame, name: str, mix: str, arm: str) -> pd.DataFrame:
    """`rows` of a tabular filter."""
    return rows(frame, "filters", name, arm=arm, mix=mix)


def trained(frame: pd.DataFrame, sweep: str, name: str, arm: str, **labels: Any) -> pd.DataFrame:
    """`learning_curve` of a language-model arm."""
    return learning_curve(frame, sweep, name, arm=arm, **labels)


def half(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A quantity of `theory.halves`: a row per policy, a column per success rate."""
    columns = {
        column: rows(frame, "theory", column, analysis="halves")["value"] for column in ("p", "policy", name)
    }
    return pd.DataFrame(columns).pivot_table(index="policy", columns="p", values=name)


# Measures: one number per seed


def budget(frame: pd.DataFrame, mix: str) -> pd.Series:
    """Responses that the arms without a filter sample."""
    return rows(frame, f"tabular_{mix}", "rollouts", arm="grpo").set_index("seed")["value"]


def stop(frame: pd.DataFrame, mix: str, arm: str) -> pd.Series:
    """Batches after which a filter has sampled at least as many responses as the other arms do in all.

    The last batch if it never does, which a filter that skips prompts may.
    """
    part = filtered(frame, "rollouts", mix, arm)
    table = part.pivot_table(index="seed", columns="step", values="value")
    enough = table.ge(budget(frame, mix), axis=0).to_numpy()
    steps = np.where(enough.any(axis=1), enough.argmax(axis=1), enough.shape[1] - 1)
    return pd.Series(steps, index=table.index)


def at(part: pd.DataFrame, steps: pd.Series) -> pd.Series:
    """Value of each seed at its own step."""
    joined = part.merge(steps.rename("own"), left_on="seed", right_index=True)
    return joined[joined["step"] == joined["own"]].set_index("seed")["value"]


def batch_quarter(part: pd.DataFrame) -> pd.Series:
    """Mean over the last quarter of the batches."""
    count = int(part["step"].max()) + 1
    return part[part["step"] >= count - max(1, count // 4)].groupby("seed")["value"].mean()


def drawdown(part: pd.DataFrame) -> pd.Series:
    """Largest fall of each seed's curve below an earlier value."""
    curves = part.pivot_table(index="seed", columns="step", values="value")
    return (curves.cummax(axis=1) - curves).max(axis=1)


def share_change(frame: pd.DataFrame, mix: str) -> pd.Series:
    """Change of GRPO's zero-variance share from the first batch to the last quarter."""
    shares = tabular(frame, "zero_variance", mix, "grpo")
    return batch_quarter(shares) - after(shares, 0)


def start_gap(frame: pd.DataFrame, mix: str) -> pd.Series:
    """Sampled minus expected zero-variance share at the start."""
    expected = tabular(frame, "predicted_zero_variance", mix, "grpo").set_index("seed")["value"]
    return after(tabular(frame, "zero_variance", mix, "grpo"), 0) - expected


def success(frame: pd.DataFrame, arm: str, alpha: float = ALPHA) -> pd.Series:
    """Success at the end, hard mix."""
    return final(tabular(frame, "success", "hard", arm, alpha))


def over(frame: pd.DataFrame, base: str, *arms: str) -> pd.DataFrame:
    """Success of several arms minus that of one."""
    return pd.DataFrame({arm: success(frame, arm) - success(frame, base) for arm in arms})


def over_filters(frame: pd.DataFrame, arm: str, *, same_rollouts: bool) -> pd.DataFrame:
    """Success of an arm minus that of the filters, at equal rollouts or at equal gradient steps."""
    columns = {}
    for name in FILTERS:
        series = filtered(frame, "success", "hard", name)
        end = at(series, stop(frame, "hard", name)) if same_rollouts else final(series)
        columns[name] = success(frame, arm) - end
    return pd.DataFrame(columns)


def batches(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Batches that an arm without a filter trains on."""
    return tabular(frame, "success", "hard", arm).groupby("seed")["step"].max().astype(float)


def peak(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Success at the middle of the α sweep minus at its sides."""
    middle = (success(frame, arm, 0.1) + success(frame, arm, 0.2)) / 2
    return pd.DataFrame({f"alpha = {side}": middle - success(frame, arm, side) for side in (0.05, 0.3)})


def score(
    frame: pd.DataFrame, arm: str, name: str = "final/pass_at_1/all", sweep: str = "proofs"
) -> pd.Series:
    """A scalar of a language-model arm, by default held-out Acc@8."""
    return scalar(frame, sweep, name, arm=arm)


def late_entropy(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Entropy over the last quarter of training, hard mix."""
    return batch_quarter(trained(frame, "proofs", "entropy", arm))


def sharpening(frame: pd.DataFrame, arm: str) -> pd.Series:
    """How far entropy is lower at results, which decide the reward, than at connectors, which do not, at the
    end on held-out prompts, hard mix; in nats."""
    return score(frame, arm, "final/entropy/connector") - score(frame, arm, "final/entropy/result")


def first_share(frame: pd.DataFrame) -> pd.Series:
    """Share of zero-variance groups in the first batches of GRPO, hard mix."""
    shares = trained(frame, "proofs", "zero_variance", "grpo")
    return shares[shares["step"] < FIRST].groupby("seed")["value"].mean()


def accuracy(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Curve of held-out Acc@8, hard mix."""
    return trained(frame, "proofs", "curve/pass_at_1", arm)


def weaker(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Cosine of the positive half minus that of another at small p."""
    return (half(frame, "positive_cosine") - half(frame, f"{name}_cosine")).loc[:, 0.02:0.1]


def theory(analysis: str, name: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: rows(frame, "theory", name, analysis=analysis)["value"].to_numpy()


# Audits of the paper's own numbers

QUESTIONS = {"Minerva": 272, "AMC23": 40, "MATH500": 500, "AIME24": 30, "AIME25": 30}
KINDS = {"Acc@8": "Acc", "Pass@8": "Pass"}
SAMPLES = 8


def main_averages(benchmarks: str = ".") -> pd.DataFrame:
    """Averages of Table 1 over its benchmarks, or over those that match, as columns Acc@8 and Pass@8."""
    main = reported("rl_zvp", "table1").filter(regex=benchmarks)
    return pd.DataFrame({name: main.filter(like=f" {kind}").mean(axis=1) for name, kind in KINDS.items()})


def reported_averages(_frame: pd.DataFrame) -> Errors:
    """Reported averages of Fig. 6 minus those of Table 1."""
    averages = reported("rl_zvp", "averages")
    return (averages - main_averages().loc[averages.index]).to_numpy().ravel()


def ablation_rows(_frame: pd.DataFrame) -> Errors:
    """Reported rows of Table 2 minus the averages of Table 1 on its three benchmarks."""
    table, main = reported("rl_zvp", "table2"), main_averages("Minerva|AMC23|MATH500")
    arms = ("RL-ZVP", "GRPO")
    return np.concatenate([table.loc[arm, list(KINDS)] - main.loc[f"1.7B {arm}"] for arm in arms])


def largest_gains(_frame: pd.DataFrame) -> Errors:
    """Reported largest gains over GRPO minus those of Table 1."""
    main = reported("rl_zvp", "table1")
    gains = pd.DataFrame(
        {scale: main.loc[f"{scale} RL-ZVP"] - main.loc[f"{scale} GRPO"] for scale in ("1.7B", "8B")}
    )
    stated = [number(part) for part in load_card("rl_zvp").claims["audit_gains"].reported.split(",")]
    return np.array(stated) - [
        gains.filter(like=f" {kind}", axis=0).to_numpy().max() for kind in KINDS.values()
    ]


def rollout_factors(_frame: pd.DataFrame) -> Errors:
    """Reported factors of Table 5 minus the ratios of its rollouts."""
    table = reported("rl_zvp", "table5")
    base = table["rollouts"].loc[[f"{row.partition(' ')[0]} RL-ZVP" for row in table.index]]
    return (table["factor"] - table["rollouts"] / base.to_numpy()).dropna().to_numpy()


def possible_scores(kind: str, samples: int, *benchmarks: str) -> Audit:
    """Is each reported score an average of 0/1 outcomes?"""
    return possible("rl_zvp", "table1", {f"{name} {kind}": QUESTIONS[name] * samples for name in benchmarks})


CLAIMS: dict[str, Measure] = {
    "c1_gradient": theory("advantage_rules", "grpo_gradient"),
    "c1_pattern": theory("advantage_rules", "pattern_error"),
    "c1_mixed": theory("advantage_rules", "mixed_difference"),
    "c2_hard": lambda f: share_change(f, "hard"),
    "c2_hard_frozen": lambda f: -start_gap(f, "hard"),
    "c2_easy": lambda f: share_change(f, "easy"),
    "c2_easy_frozen": lambda f: -start_gap(f, "easy"),
    "c3": lambda f, arm="zvp": score(f, arm) - score(f, "grpo"),
    "c3_small": lambda f: score(f, "small") - score(f, "grpo"),
    "c4_accuracy": lambda f, arm="zvp": over_filters(f, arm, same_rollouts=True),
    "c4_steps": lambda f: pd.DataFrame({arm: stop(f, "hard", arm) / batches(f, "zvp") for arm in FILTERS}),
    "c4_steps_grpo": lambda f: batches(f, "grpo") / batches(f, "zvp"),
    "c5": lambda f, arm="zvp": over_filters(f, arm, same_rollouts=False),
    "c6_negative": lambda f, arm="zvp": success(f, arm) - success(f, "no_negative"),
    "c6_positive": lambda f, arm="zvp": success(f, arm) - success(f, "no_positive"),
    "c6_shape": lambda f, arm="zvp": success(f, arm) - success(f, "unit"),
    "c6_matched": lambda f: -over(f, "zvp", "const", "shuffle", "alpha"),
    "c6_null": lambda f: success(f, "shuffle") - success(f, "const"),
    "c7": lambda f, arm="zvp": peak(f, arm),
    "c8_entropy": lambda f, arm="zvp": late_entropy(f, arm) / late_entropy(f, "grpo"),
    "c8_length": lambda f, arm="zvp": score(f, arm, "final/length") / score(f, "grpo", "final/length"),
    "c8_drawdown": lambda f, arm="zvp": drawdown(accuracy(f, "grpo")) - drawdown(accuracy(f, arm)),
    "probe": lambda f, arm="zvp": sharpening(f, arm) - sharpening(f, "grpo"),
    "c9_zero_mean": theory("identities", "zero_mean"),
    "c9_identity": theory("identities", "drift"),
    "c9_positive": lambda f, arm="positive": half(f, f"{arm}_cosine").loc[:, 0.02:0.98],
    "c9_weaker": lambda f, arm="negative": weaker(f, arm),
    "flip": lambda f, arm="flip": success(f, "grpo") - success(f, arm),
    "audit_averages": reported_averages,
    "audit_ablation": ablation_rows,
    "audit_gains": largest_gains,
    "audit_rollouts": rollout_factors,
    "audit_possible": possible_scores("Acc", SAMPLES, "Minerva", "AMC23", "AIME24", "AIME25"),
    "audit_math500": possible_scores("Acc", SAMPLES, "MATH500"),
    "audit_pass": possible_scores("Pass", 1, "AMC23", "AIME24", "AIME25"),
}

PREMISES: dict[str, Measure] = {
    "zero_variance": first_share,
    "headroom": lambda f: after(accuracy(f, "grpo"), 0),
    "baseline_learns": lambda f: score(f, "grpo") - after(accuracy(f, "grpo"), 0),
    "gradient": lambda f: trained(f, "proofs", "gradient_share", "zvp").groupby("seed")["value"].mean(),
}
