"""Data twins of the figures: long frames with panel, arm and mean, low, high, n (95 % t intervals)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch

from common.metrics.records import curve, rows, scalar
from common.metrics.summary import ESTIMATE, estimate
from common.speculative.tree import TreePolicy
from common.tasks.tridomain import DOMAINS
from papers.gto.selection import DECODERS, NAMES, main, speed
from papers.gto.tables import ranks

WORDS = ("It", "is", "has", "a", "the", "to", "been")
DRAFT = {
    "": {"is": 0.6, "has": 0.4},
    "is": {"a": 0.6, "the": 0.4},
    "has": {"to": 0.95, "been": 0.05},
}
ACCEPTED = ("is", "the")
TRAINED = ("gto", "shuffled", "flipped")
LOGGED = {
    "reward": "Reward over the reference's",
    "equal_groups": "Share of groups of equal rewards",
    "outside_clip": "Share of ratios outside the clip range",
    "grad_norm": "Gradient norm",
}
TABULAR = {
    "cross_entropy": "cross-entropy",
    "continual": "continual",
    "gto": "GTO",
    "node_sum": "node sum",
    "best": "best found",
}


def fig1(_frame: pd.DataFrame) -> pd.DataFrame:
    """The nodes of a small tree, grown by the engine: cumulative probability, kept or pruned.

    The draft continues "It" by the probabilities `DRAFT`; of four candidates of two levels three are kept.
    The greedy path "is a" is not among them, and the target would have accepted "is the".
    """
    logits = {word: torch.full((len(WORDS),), -30.0) for word in DRAFT}
    for word, following in DRAFT.items():
        for token, probability in following.items():
            logits[word][WORDS.index(token)] = float(np.log(probability))

    def expand(tokens: torch.Tensor, _parents: torch.Tensor, _visible: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.stack([logits[WORDS[token]] for token in row]) for row in tokens.tolist()])

    tree = TreePolicy(2, 2, 3).grow(logits[""][None], expand)
    kept = [
        tuple(WORDS[token] for token in tree.tokens[0][tree.ancestor[0, node + 1, 1:]].tolist())
        for node in range(tree.tokens.shape[1])
    ]
    first = {(word,): chance for word, chance in DRAFT[""].items()}
    second = {(*path, w): p * q for path, p in first.items() for w, q in DRAFT[path[0]].items()}
    return pd.DataFrame(
        [
            {
                "path": " ".join(("It", *path)),
                "level": len(path),
                "probability": probability,
                "kept": path in kept,
                "greedy": path in (("is",), ("is", "a")),
                "accepted": path == ACCEPTED[: len(path)],
            }
            for path, probability in (first | second).items()
        ]
    )


def fig2a(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of greedy paths, in percent, with the target as its own draft."""

    def points() -> Iterator[tuple[object, ...]]:
        for panel, name in {"accepted on the greedy path": "agrees", "greedy path pruned": "pruned"}.items():
            for domain in DOMAINS:
                yield panel, domain, *estimate(100 * main(frame, "untuned", f"{name}/{domain}"))
            for domain in DOMAINS:
                share = 100 * scalar(frame, "oracle", f"{name}/{domain}")
                yield panel, f"{domain}, target drafts", *estimate(share)

    return _points(points())


def fig2b(frame: pd.DataFrame) -> pd.DataFrame:
    """τ of the greedy path and of the tree, EAGLE-3, both temperatures."""
    return _points(
        (f"T={t}", f"{domain} {told}", *estimate(main(frame, "untuned", f"{name}{t}/{domain}")))
        for t in (0, 1)
        for told, name in {"path": "chain", "tree": "tau"}.items()
        for domain in DOMAINS
    )


def fig2c(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up over plain decoding, mean of the domains."""
    return _points(
        (f"T={t}", DECODERS[arm], *estimate(speed(frame, arm, "sr", t)))
        for t in (0, 1)
        for arm in ("eagle2", "eagle3", "continual", "gto")
    )


def training(frame: pd.DataFrame) -> pd.DataFrame:
    """What Phase II logs, over steps."""
    return _stack(
        curve(rows(frame, "main", name, arm=arm), panel=panel, arm=NAMES[arm])
        for name, panel in LOGGED.items()
        for arm in TRAINED
    )


def gap(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected accepted tokens below those of the target's own trees, by rank."""
    return _points(
        (
            f"rank {rank}",
            name,
            *estimate(
                scalar(frame, "tabular", arm, rank=rank) - scalar(frame, "tabular", "target", rank=rank)
            ),
        )
        for rank in ranks(frame)
        for arm, name in TABULAR.items()
    )


def _points(cells: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    return pd.DataFrame(list(cells), columns=["panel", "arm", *ESTIMATE])


def _stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(parts), ignore_index=True)
