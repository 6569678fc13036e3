"""Audits: the paper's own numbers, read from the card, against each other. They need no record."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.study.card import load_card

Errors = Float[np.ndarray, " N"]
QUESTIONS = {"Minerva": 272, "AMC23": 40, "MATH500": 500, "AIME24": 30, "AIME25": 30}
SAMPLES = 8


def audit_averages(_frame: pd.DataFrame) -> Errors:
    """Reported averages of Fig. 6 minus those of Table 1."""
    main, averages = _reported("table1"), _reported("averages")
    kinds = {"Acc@8": " Acc", "Pass@8": " Pass"}
    return np.array(
        [
            averages.loc[row, kind] - main.loc[row].filter(like=suffix).mean()
            for row in averages.index
            for kind, suffix in kinds.items()
        ]
    )


def audit_ablation(_frame: pd.DataFrame) -> Errors:
    """Reported rows of Table 2 minus the averages of Table 1 on its three benchmarks."""
    main, ablation = _reported("table1"), _reported("table2")
    errors = []
    for row in ("RL-ZVP", "GRPO"):
        for column, kind in {"Acc@8": "Acc", "Pass@8": "Pass"}.items():
            names = [f"{benchmark} {kind}" for benchmark in ("Minerva", "AMC23", "MATH500")]
            errors.append(ablation.loc[row, column] - main.loc[f"1.7B {row}", names].mean())
    return np.array(errors)


def audit_gains(_frame: pd.DataFrame) -> Errors:
    """Reported largest gains over GRPO minus those of Table 1."""
    main = _reported("table1")
    gains = pd.DataFrame(
        {scale: main.loc[f"{scale} RL-ZVP"] - main.loc[f"{scale} GRPO"] for scale in ("1.7B", "8B")}
    )
    reported = [float(part) for part in load_card("rl_zvp").claims["audit_gains"].reported.split(",")]
    found = [gains.filter(like=kind, axis=0).to_numpy().max() for kind in (" Acc", " Pass")]
    return np.array(reported) - np.array(found)


def audit_rollouts(_frame: pd.DataFrame) -> Errors:
    """Reported factors of Table 5 minus the ratios of its rollouts."""
    table = _reported("table5")
    base = [table.loc[f"{row.partition(' ')[0]} RL-ZVP", "rollouts"] for row in table.index]
    return (table["factor"] - table["rollouts"] / base).dropna().to_numpy()


def audit_possible(_frame: pd.DataFrame) -> Errors:
    """Distance of the reported Acc@8 to the nearest average of 0/1 scores, without MATH500."""
    names = ("Minerva", "AMC23", "AIME24", "AIME25")
    return np.concatenate([_distance(f"{name} Acc", QUESTIONS[name] * SAMPLES) for name in names])


def audit_math500(_frame: pd.DataFrame) -> Errors:
    """The same for MATH500."""
    return _distance("MATH500 Acc", QUESTIONS["MATH500"] * SAMPLES)


def audit_pass(_frame: pd.DataFrame) -> Errors:
    """Distance of the reported Pass@8 to the nearest share of solved questions."""
    names = ("AMC23", "AIME24", "AIME25")
    return np.concatenate([_distance(f"{name} Pass", QUESTIONS[name]) for name in names])


def _distance(column: str, cases: int) -> Errors:
    scores = _reported("table1")[column].to_numpy()
    return np.abs(scores - np.round(scores / 100 * cases) * 100 / cases)


def _reported(name: str) -> pd.DataFrame:
    block = load_card("rl_zvp").tables[name].reported
    return pd.DataFrame.from_dict(block.rows, orient="index", columns=list(block.columns)).astype(float)
