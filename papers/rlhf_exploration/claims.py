"""One function per tested claim of the card: the frame to one number per seed, or to errors.

Methods share their random numbers, so differences and ratios are paired by seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import final, rows, values
from papers.rlhf_exploration.arms import bound, growth, jackknife, levels, regret, slope
from papers.rlhf_exploration.experiment import COIN_BETA, HARD_BETA, HARD_GAP

Errors = Float[np.ndarray, " N"]
GROWTH_BETAS = (0.5, 0.33, 0.25, 0.2)
FAR, NEAR, UNSATURATED = 10.0, 4.0, 2.0  # gaps of CE2


def c1(frame: pd.DataFrame) -> Errors:
    """Errors of the regret identity and of the closed form."""
    return _theory(frame, "identities", "regret", "optimum")


def c1_dpo(frame: pd.DataFrame) -> Errors:
    """Bonus minus its DPO form."""
    return _theory(frame, "identities", "dpo")


def c1_flipped(frame: pd.DataFrame) -> Errors:
    """Bonus plus its DPO form."""
    return _theory(frame, "identities", "flipped")


def c1_shift(frame: pd.DataFrame) -> Errors:
    """Change of the bonus under a shift of the reward."""
    return _theory(frame, "identities", "shift")


def c1_gradient(frame: pd.DataFrame) -> Errors:
    """Gradient of the bonus against differences."""
    return _theory(frame, "identities", "gradient")


def c1_waiting(frame: pd.DataFrame) -> Errors:
    """Relative errors of both closed forms."""
    pairs = [("horizons", "waiting"), ("comparisons", "ratio")]
    errors = [_theory(frame, job, name) / _theory(frame, job, "closed") - 1 for job, name in pairs]
    return np.concatenate(errors)


def alpha0(frame: pd.DataFrame) -> Errors:
    """Regret of the proposal minus that of ablation B, both without a bonus."""
    found = [
        regret(frame, "alpha0", "proposed", instance=instance)
        - regret(frame, "alpha0", "ablation_b", instance=instance)
        for instance in ("ce1", "ce2")
    ]
    return np.concatenate(found)


def c2(frame: pd.DataFrame) -> pd.Series:
    """Regret of VPO-type over what it would be at the first round's rate."""
    return _linear_share(frame, "vpo")


def c2_proposed(frame: pd.DataFrame) -> pd.Series:
    """The same for the proposal."""
    return _linear_share(frame, "proposed")


def c2_growth(frame: pd.DataFrame) -> pd.Series:
    """Slope of log-regret in 1/β, VPO-type."""
    return _exponential(frame, "vpo")


def c2_growth_proposed(frame: pd.DataFrame) -> pd.Series:
    """The same for the proposal."""
    return _exponential(frame, "proposed")


def c3(frame: pd.DataFrame) -> pd.Series:
    """Regret at gap 10 over the mean at gap 4, XPO-type."""
    return _over_gaps(frame, "xpo")


def c3_proposed(frame: pd.DataFrame) -> pd.Series:
    """The same for the proposal."""
    return _over_gaps(frame, "proposed")


def c3_linear(frame: pd.DataFrame) -> pd.Series:
    """R_T / R_(T/2) at gap 10, XPO-type."""
    return growth(frame, "ce2", "xpo", gap=FAR)


def c3_linear_proposed(frame: pd.DataFrame) -> pd.Series:
    """The same for the proposal."""
    return growth(frame, "ce2", "proposed", gap=FAR)


def c4(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T / R_(T/2) of the proposal in every configuration, on the seeds that all of them have."""
    columns = {
        f"beta={beta:g}": growth(frame, "ce1", "proposed", beta=beta) for beta in levels(frame, "ce1", "beta")
    }
    columns |= {
        f"gap={gap:g}": growth(frame, "ce2", "proposed", gap=gap) for gap in levels(frame, "ce2", "gap")
    }
    return pd.DataFrame(columns).dropna()


def c4_coin(frame: pd.DataFrame) -> pd.Series:
    """The same with coin labels."""
    return growth(frame, "coin", "proposed", beta=COIN_BETA)


def c4_polynomial(frame: pd.DataFrame) -> pd.DataFrame:
    """Log-log slopes of the proposal's regret."""
    return _degrees(frame, "proposed", "proposed")


def c4_polynomial_others(frame: pd.DataFrame) -> pd.DataFrame:
    """Log-log slopes of the regret of VPO-type in 1/β and of XPO-type in the gap."""
    return _degrees(frame, "vpo", "xpo")


def c5_a(frame: pd.DataFrame) -> pd.Series:
    """Log ratio of regrets on CE2, ablation A over proposal."""
    return _log_ratio(frame, "ce2", "ablation_a", gap=HARD_GAP)


def c5_a_alpha0(frame: pd.DataFrame) -> pd.Series:
    """The same without a bonus."""
    return _log_ratio(frame, "alpha0", "ablation_a", instance="ce2")


def c5_b(frame: pd.DataFrame) -> pd.Series:
    """Log ratio of regrets on CE1, ablation B over proposal."""
    return _log_ratio(frame, "ce1", "ablation_b", beta=HARD_BETA)


def c5_b_alpha0(frame: pd.DataFrame) -> pd.Series:
    """The same without a bonus."""
    return _log_ratio(frame, "alpha0", "ablation_b", instance="ce1")


def c6(frame: pd.DataFrame) -> pd.DataFrame:
    """Exponent minus the bound's at each β, proposal."""
    return _excess(frame, "proposed")


def c6_vpo(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for VPO-type."""
    return _excess(frame, "vpo")


def c7(frame: pd.DataFrame) -> pd.Series:
    """Share of mixed pairs, proposal minus VPO-type."""
    return _mixed(frame, "proposed") - _mixed(frame, "vpo")


def c7_a(frame: pd.DataFrame) -> pd.Series:
    """Share of mixed pairs, ablation A minus VPO-type."""
    return _mixed(frame, "ablation_a") - _mixed(frame, "vpo")


def c7_information(frame: pd.DataFrame) -> pd.Series:
    """log10 of the ratio of informations at gap 10."""
    return _information(frame, FAR)


def c7_unsaturated(frame: pd.DataFrame) -> pd.Series:
    """The same at gap 2."""
    return _information(frame, UNSATURATED)


def c8(frame: pd.DataFrame) -> pd.DataFrame:
    """log2 ratios over the proposal on benign bandits, averaged over β."""
    betas = levels(frame, "benign", "beta")
    return pd.DataFrame(
        {
            other: sum(_log_ratio(frame, "benign", other, beta=beta) for beta in betas)
            / (len(betas) * np.log(2))
            for other in ("vpo", "xpo", "passive")
        }
    )


def c9(frame: pd.DataFrame) -> pd.DataFrame:
    """Log ratios over the proposal with a learned policy, rare families."""
    return _learned(frame, "rare", "xpo", "vpo")


def c9_pattern(frame: pd.DataFrame) -> pd.DataFrame:
    """The same on the pattern instance."""
    return _learned(frame, "pattern", "xpo", "vpo")


def c9_passive(frame: pd.DataFrame) -> pd.Series:
    """Log ratio of passive online DPO over the proposal with a learned policy, rare families."""
    return _learned(frame, "rare", "passive")["passive"]


def c9_passive_pattern(frame: pd.DataFrame) -> pd.Series:
    """The same on the pattern instance."""
    return _learned(frame, "pattern", "passive")["passive"]


def _theory(frame: pd.DataFrame, analysis: str, *names: str) -> Errors:
    return values(frame, "theory", *names, analysis=analysis)


def _linear_share(frame: pd.DataFrame, protocol: str) -> pd.Series:
    total = regret(frame, "ce1", protocol, beta=HARD_BETA)
    horizon = levels(frame, "ce1", "horizon")[0]
    return total / (horizon * regret(frame, "ce1", protocol, "first", beta=HARD_BETA))


def _exponential(frame: pd.DataFrame, protocol: str) -> pd.Series:
    table = pd.DataFrame({1 / beta: regret(frame, "ce1", protocol, beta=beta) for beta in GROWTH_BETAS})
    return _slopes(np.array(table.columns), table)


def _over_gaps(frame: pd.DataFrame, protocol: str) -> pd.Series:
    near = regret(frame, "ce2", protocol, gap=NEAR).mean()
    return regret(frame, "ce2", protocol, gap=FAR) / near


def _degrees(frame: pd.DataFrame, on_ce1: str, on_ce2: str) -> pd.DataFrame:
    betas, gaps = levels(frame, "ce1", "beta"), levels(frame, "ce2", "gap")
    first = pd.DataFrame({1 / beta: regret(frame, "ce1", on_ce1, beta=beta) for beta in betas})
    second = pd.DataFrame({gap: regret(frame, "ce2", on_ce2, gap=gap) for gap in gaps})
    columns = {
        name: _slopes(np.log(np.array(table.columns, dtype=float)), table)
        for name, table in {"1/beta": first, "gap": second}.items()
    }
    return pd.DataFrame(columns).dropna()


def _slopes(x: Float[np.ndarray, " N"], regrets: pd.DataFrame) -> pd.Series:
    return pd.Series(slope(x, np.log(regrets.to_numpy())), index=regrets.index)


def _log_ratio(frame: pd.DataFrame, sweep: str, protocol: str, **labels: object) -> pd.Series:
    return np.log(regret(frame, sweep, protocol, **labels) / regret(frame, sweep, "proposed", **labels))


def _excess(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    betas = levels(frame, "envelope", "beta")
    return pd.DataFrame({f"beta={beta:g}": jackknife(frame, protocol, beta) - bound(beta) for beta in betas})


def _mixed(frame: pd.DataFrame, protocol: str) -> pd.Series:
    return final(rows(frame, "ce1", "mixed", protocol=protocol, beta=HARD_BETA))


def _information(frame: pd.DataFrame, gap: float) -> pd.Series:
    ours, theirs = (
        final(rows(frame, "ce2", "information", protocol=protocol, gap=gap))
        for protocol in ("proposed", "xpo")
    )
    return np.log10(ours / theirs)


def _learned(frame: pd.DataFrame, instance: str, *others: str) -> pd.DataFrame:
    labels = {"instance": instance, "policy": "model"}
    return pd.DataFrame({other: _log_ratio(frame, "lm", other, **labels) for other in others})
