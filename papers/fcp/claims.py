"""One function per tested claim of the card: the frame to one number per seed, or to errors.

Differences are paired by seed; arms that ran on fewer seeds decide on those. Audits recompute the paper's own
numbers, which they read from the card.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import rows, scalar, values
from common.study.card import Table, load_card

Errors = Float[np.ndarray, " N"]
SWEEPS = {"cft": "controls", "positives only": "controls", "shuffled": "controls", "scalar": "controls"}
"""Sweep of the arms that are not in `main`."""


def value(frame: pd.DataFrame, arm: str, measure: str = "accuracy", sweep: str = "") -> pd.Series:
    """A measure of one arm, by seed; ``fcp@has code`` is an arm under a condition."""
    where = sweep or SWEEPS.get(arm.partition("@")[0], "main")
    return scalar(frame, where, f"{arm}/{measure}")


def minus(left: pd.Series, right: pd.Series) -> pd.Series:
    """Paired difference on the seeds that both have."""
    return (left - right).dropna()


def c1(frame: pd.DataFrame) -> Errors:
    """Distance of the fit to the posterior, own and other laws of the critique."""
    return _theory(frame, "offline", "own", "other_0", "other_1", "other_2")


def c1_reversed(frame: pd.DataFrame) -> Errors:
    """Distance to the reference policy with shuffled critiques."""
    return _theory(frame, "offline", "reversed")


def c2(frame: pd.DataFrame) -> Errors:
    """Errors of Eq. 7 and of the optimum of Eq. 2."""
    return _theory(frame, "link_to_rl", "identity", "optimum", "excess")


def c2_verifier(frame: pd.DataFrame) -> Errors:
    """Errors of the special case of a 0/1 verifier."""
    return _theory(frame, "link_to_rl", "verifier")


def c3(frame: pd.DataFrame) -> Errors:
    """Errors of the closed form of exact rounds, and falls of the expectation."""
    return _theory(frame, "fixed_point", "error", "fall")


def c3_behind(frame: pd.DataFrame) -> Errors:
    """Distance to the closed form one round behind."""
    return _theory(frame, "fixed_point", "exponent_error")


def c4(frame: pd.DataFrame) -> pd.DataFrame:
    """Offline FCP over the base policy, and over RFT less five points."""
    return _between(frame, "fcp")


def c4_shuffled(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with shuffled critiques."""
    return _between(frame, "shuffled")


def c5(frame: pd.DataFrame) -> pd.Series:
    """FCP+Bootstrap minus GRPO."""
    return minus(value(frame, "bootstrap"), value(frame, "grpo"))


def c5_gain(frame: pd.DataFrame) -> pd.Series:
    """FCP+Bootstrap minus offline FCP."""
    return minus(value(frame, "bootstrap"), value(frame, "fcp"))


def c5_self(frame: pd.DataFrame) -> pd.Series:
    """Self-distillation minus offline FCP."""
    return minus(value(frame, "self-distillation"), value(frame, "fcp"))


def c6(frame: pd.DataFrame) -> pd.Series:
    """Accuracy under praise minus under blame."""
    return _praise_minus_blame(frame, "fcp")


def c6_shuffled(frame: pd.DataFrame) -> pd.Series:
    """The same with shuffled critiques."""
    return _praise_minus_blame(frame, "shuffled")


def c6_blame(frame: pd.DataFrame) -> pd.Series:
    """Base policy minus FCP under blame."""
    return minus(value(frame, "base"), value(frame, "fcp@fully negative"))


def c6_blame_shuffled(frame: pd.DataFrame) -> pd.Series:
    """The same with shuffled critiques."""
    return minus(value(frame, "base"), value(frame, "shuffled@fully negative"))


def c6_code(frame: pd.DataFrame) -> pd.Series:
    """Share of code when asked for, minus twice the share when not."""
    return _code(frame, "fcp")


def c6_code_shuffled(frame: pd.DataFrame) -> pd.Series:
    """The same with shuffled critiques."""
    return _code(frame, "shuffled")


def c6_length(frame: pd.DataFrame) -> pd.Series:
    """Length under a verbose critique minus under praise."""
    return _length(frame, "fcp")


def c6_length_shuffled(frame: pd.DataFrame) -> pd.Series:
    """The same with shuffled critiques."""
    return _length(frame, "shuffled")


def c7(frame: pd.DataFrame) -> pd.Series:
    """All pairs minus right ones alone, under praise."""
    return minus(value(frame, "fcp"), value(frame, "positives only"))


def c7_shuffled(frame: pd.DataFrame) -> pd.Series:
    """Shuffled critiques minus right ones alone."""
    return minus(value(frame, "shuffled"), value(frame, "positives only"))


def c8(frame: pd.DataFrame) -> pd.DataFrame:
    """Both attributes under (+, +) in words, over the three alternatives."""
    return _composed(frame, "words")


def c8_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a token per combination."""
    return _composed(frame, "ids")


def c8_tokens(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a token per attribute and polarity."""
    return _composed(frame, "tokens")


def c9(frame: pd.DataFrame) -> pd.Series:
    """Change of the rollouts' length with every praise."""
    return _quarter(frame, "every praise", "length", late=True) - _quarter(frame, "every praise", "length")


def c9_filtered(frame: pd.DataFrame) -> pd.Series:
    """The same without words on length."""
    return _quarter(frame, "bootstrap", "length", late=True) - _quarter(frame, "bootstrap", "length")


def c9_loss(frame: pd.DataFrame) -> pd.Series:
    """Change of the loss's noise with every praise."""
    return _noise(frame, "every praise")


def c9_loss_filtered(frame: pd.DataFrame) -> pd.Series:
    """The same without words on length."""
    return _noise(frame, "bootstrap")


def c10(frame: pd.DataFrame) -> pd.Series:
    """Score of the rollouts late in training, GRPO minus FCP+Bootstrap."""
    return _quarter(frame, "grpo", "score", late=True) - _quarter(frame, "bootstrap", "score", late=True)


def c10_early(frame: pd.DataFrame) -> pd.Series:
    """The same early in training."""
    return _quarter(frame, "grpo", "score") - _quarter(frame, "bootstrap", "score")


def c11(frame: pd.DataFrame) -> pd.Series:
    """CFT minus base."""
    return minus(value(frame, "cft"), value(frame, "base"))


def c11_rft(frame: pd.DataFrame) -> pd.Series:
    """RFT minus base."""
    return minus(value(frame, "rft"), value(frame, "base"))


def c12(frame: pd.DataFrame) -> pd.DataFrame:
    """The ablations of the online stage."""
    found = {arm: value(frame, arm, sweep="ablations") for arm in ("several updates", "seq-mean-token-sum")}
    default = value(frame, "default", sweep="ablations")
    columns = {arm: values - default for arm, values in found.items()}
    columns["default"] = default - value(frame, "praise per rollout", sweep="ablations")
    return pd.DataFrame(columns)


def c12_offline(frame: pd.DataFrame) -> pd.Series:
    """The offline policy minus the default."""
    return value(frame, "fcp", sweep="ablations") - value(frame, "default", sweep="ablations")


def audit_average(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed averages of Table 1."""
    return _averages(load_card("fcp").tables["table1"], benchmarks=5)


def audit_average2(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed averages of Table 2."""
    return _averages(load_card("fcp").tables["table2"], benchmarks=3)


def audit_changes(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed changes of Table 5."""
    block = load_card("fcp").tables["table5"].reported.rows
    default = _number(block["default"][0])
    return np.array(
        [
            _number(change) - (_number(score) - default)
            for score, change in block.values()
            if change is not None
        ]
    )


def _averages(table: Table, benchmarks: int) -> Errors:
    cells = np.array(
        [[_number(cell) for cell in row[: benchmarks + 1]] for row in table.reported.rows.values()]
    )
    return cells[:, benchmarks] - cells[:, :benchmarks].mean(axis=1)


def _number(cell: float | str | None) -> float:
    return np.nan if cell is None else float(cell)


def _theory(frame: pd.DataFrame, analysis: str, *names: str) -> Errors:
    return values(frame, "theory", *names, analysis=analysis)


def _between(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    found = {
        "over base": minus(value(frame, arm), value(frame, "base")),
        "against RFT": minus(value(frame, arm), value(frame, "rft")) + 0.05,
    }
    return pd.DataFrame(found)


def _praise_minus_blame(frame: pd.DataFrame, arm: str) -> pd.Series:
    return value(frame, f"{arm}@fully positive") - value(frame, f"{arm}@fully negative")


def _code(frame: pd.DataFrame, arm: str) -> pd.Series:
    return value(frame, f"{arm}@has code", "code") - 2 * value(frame, f"{arm}@fully positive", "code")


def _length(frame: pd.DataFrame, arm: str) -> pd.Series:
    return value(frame, f"{arm}@verbose", "length") - value(frame, f"{arm}@fully positive", "length")


def _composed(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    asked = value(frame, f"{arm}@++", "both", "composition")
    others = {"reference": "reference", "(+, -)": f"{arm}@+-", "(-, +)": f"{arm}@-+"}
    return pd.DataFrame(
        {name: asked - value(frame, other, "both", "composition") for name, other in others.items()}
    )


def _quarter(frame: pd.DataFrame, arm: str, name: str, late: bool = False) -> pd.Series:
    """Mean over the first or last quarter of the rounds (at least one), by seed."""
    table = rows(frame, "main", f"{arm}/curve/{name}").pivot_table(
        index="step", columns="seed", values="value"
    )
    size = max(1, len(table) // 4)
    return (table.iloc[-size:] if late else table.iloc[:size]).mean()


def _noise(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Standard deviation of the step-to-step change of the loss, second half minus first."""
    table = rows(frame, "main", f"{arm}/curve/loss").pivot_table(index="step", columns="seed", values="value")
    change = table.diff().iloc[1:]
    half = len(change) // 2
    return change.iloc[half:].std() - change.iloc[:half].std()
