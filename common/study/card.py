"""The card of a paper: its citation, reported numbers and claims, checked before anything runs.

A card is data a person transcribed. Whatever is wrong with it is reported with file, field and fix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.study.controls import expand
from common.study.errors import StudyError, unknown
from common.study.paths import papers_root
from common.study.yaml_file import read_yaml

Profile = Literal["smoke", "laptop", "gpu", "paper"]
PROFILES: tuple[Profile, ...] = ("smoke", "laptop", "gpu", "paper")
Kind = Literal["theorem", "mechanism", "trend", "headline", "systems", "audit"]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Cell = float | str | None


class Model(BaseModel):
    """Base of all card parts: unknown fields are mistakes, and a card never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(Model):
    """A value of the paper and the place that states it."""

    value: Cell
    place: str


class Seeds(Model):
    """Seeds that verdicts are judged on, and those used while developing; the two never meet."""

    judged: tuple[int, ...] = Field(min_length=1)
    development: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Seeds:
        shared = sorted(set(self.judged) & set(self.development))
        if shared:
            raise ValueError(
                f"judged and development seeds share {shared}; choose judged seeds nobody has looked at"
            )
        if len(set(self.judged)) < len(self.judged):
            raise ValueError("judged seeds repeat; list each once")
        return self


class Artefact(Model):
    """What a table and a figure have in common: where it is from and what feeds it.

    Attributes:
        title: Caption in our words.
        shows: What the paper's own version shows.
        source: Tag of the spec sheet, e.g. ``paper, Table 2``.
        needs: Sweeps whose records feed it.
        absent: Why it cannot be regenerated; exclusive with `needs`.
        profile: Lowest profile that regenerates it.
    """

    title: str
    shows: str = ""
    source: str
    needs: tuple[str, ...] = ()
    absent: str | None = None
    profile: Profile = "smoke"

    @model_validator(mode="after")
    def _needs_or_reason(self) -> Artefact:
        if bool(self.needs) == bool(self.absent):
            raise ValueError(
                "give either 'needs' (the sweeps that feed it) or 'absent' (why it is not regenerated)"
            )
        return self


class Reported(Model):
    """The paper's block of a table: column names and one list of cells per row; empty for a table of ours."""

    columns: tuple[str, ...] = ()
    rows: dict[str, tuple[Cell, ...]] = {}

    @model_validator(mode="after")
    def _rectangular(self) -> Reported:
        for row, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(f"row '{row}' has {len(cells)} cells for {len(self.columns)} columns")
        return self


class Table(Artefact):
    """A table: the paper's block, and which of its rows have a counterpart in ours.

    Attributes:
        reported: The paper's numbers.
        counterparts: Row of the paper to the row of `report.<id>` that stands beside it; not given, rows of
            equal name stand beside each other. See `pairs`.
        ours: Heading of our block, e.g. the task and the metric.
    """

    reported: Reported = Reported()
    counterparts: dict[str, str] | None = None
    ours: str = "this run"

    @model_validator(mode="after")
    def _mapped_rows_exist(self) -> Table:
        missing = sorted(set(self.counterparts or {}) - set(self.reported.rows))
        if missing:
            raise ValueError(f"counterparts name rows that the paper's block does not have: {missing}")
        return self

    def pairs(self, ours: Sequence[str]) -> dict[str, str]:
        """Row of the paper to the row of ours beside it: as `counterparts` says, else rows of equal name.

        Args:
            ours: Names of our rows.
        """
        if self.counterparts is not None:
            return self.counterparts
        return {row: row for row in self.reported.rows if row in ours}


class Figure(Artefact):
    """A figure or panel; `reported` holds the values it draws as the paper's (dashed lines)."""

    reported: dict[str, float] = {}


class Test(Model):
    """How a claim is decided; exactly one of the five kinds.

    Attributes:
        greater: Reproduced if the 95 % interval lies above this value (all columns, if there are several).
        less: Reproduced if it lies below.
        within: Reproduced if the 90 % interval lies inside ``[low, high]``.
        order: Adjacent paired differences of the columns, named in rising order, are all greater than 0.
        exact: Reproduced if no error exceeds this tolerance.
        enumeration: With `exact`: the errors cover every case, so fewer than 1,000 are enough.
    """

    greater: float | None = None
    less: float | None = None
    within: tuple[float, float] | None = None
    order: tuple[str, ...] | None = None
    exact: float | None = None
    enumeration: bool = False

    KINDS: ClassVar[tuple[str, ...]] = ("greater", "less", "within", "order", "exact")

    @model_validator(mode="after")
    def _one_kind(self) -> Test:
        given = [kind for kind in self.KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.KINDS)}; found {given or 'none'}")
        if self.within is not None and not self.within[0] < self.within[1]:
            raise ValueError(f"within needs low < high; found {list(self.within)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the one test given."""
        return next(kind for kind in self.KINDS if getattr(self, kind) is not None)


class Claim(Model):
    """A statement of the paper (or a control of ours) and the test that decides it.

    Attributes:
        statement: In our words.
        place: Where the paper says it.
        reported: The paper's number, with its unit.
        kind: theorem, mechanism, trend, headline, systems or audit.
        role: ``control`` for rows that must not show the effect by themselves.
        metric: The one number per seed that `report.<id>` returns.
        test: See `Test`; left out only where `untested` says why no profile up to `gpu` can decide.
        control: Id of the claim row that the effect has to exceed. In the file it may stand nested,
            ``{arm: …}``: loading expands it into a row of its own, see `common.study.controls.expand`.
        arm: For a control: the arm that the claim's measurement is taken for instead of the method.
        of: For a control: the claim that it controls, whose measurement it repeats.
        smallest_effect: Smallest effect of interest, in units of the metric; sizes the power analysis.
        profile: Lowest profile that can decide.
        primary: Tested first at 5 %; the other sampled claims are Holm-adjusted together.
        needs: Sweeps whose records it reads; none for an audit, which reads the card.
        untested: Why there is no test at the profiles that run here.
    """

    statement: str
    place: str
    reported: str = ""
    kind: Kind
    role: Literal["claim", "control"] = "claim"
    metric: str = ""
    test: Test | None = None
    control: Id | None = None
    arm: str | None = None
    of: Id | None = None
    smallest_effect: float | None = Field(default=None, gt=0)
    profile: Profile = "laptop"
    primary: bool = False
    needs: tuple[str, ...] = ()
    untested: str | None = None

    @model_validator(mode="after")
    def _decidable(self) -> Claim:
        if (self.test is None) == (self.untested is None):
            raise ValueError("give either 'test' or 'untested' (the reason why no test runs)")
        if (self.arm is None) != (self.of is None) or (self.of and self.role != "control"):
            raise ValueError("'arm' and 'of' stand together, in a row with role: control")
        if self.test is None:
            return self
        if not self.metric or not (self.needs or self.kind == "audit"):
            raise ValueError("a tested claim needs 'metric' (one number per seed) and 'needs' (its sweeps)")
        sampled = self.test.kind != "exact"
        if self.kind in ("theorem", "audit") and sampled:
            raise ValueError(f"a {self.kind} claim is decided by an 'exact' test")
        directed = sampled and self.test.kind != "within"  # equivalence: no effect to exceed a control's
        if directed and self.role == "claim" and self.kind in ("mechanism", "trend") and self.control is None:
            raise ValueError(
                f"a {self.kind} claim needs 'control': the id of the row its effect has to exceed"
            )
        if sampled and self.smallest_effect is None:
            raise ValueError(
                "a sampled claim needs 'smallest_effect', so that an inconclusive verdict can name n"
            )
        return self

    def test_hash(self) -> str:
        """Hash of everything that decides the verdict; a change after the run is shown as amended."""
        block = self.model_dump(
            include={"kind", "role", "metric", "test", "control", "smallest_effect", "primary"}
        )
        return hashlib.sha256(json.dumps(block, sort_keys=True, default=list).encode()).hexdigest()[:16]


class Card(Model):
    """A paper as this repository sees it; one per folder, in ``paper.yaml``."""

    slug: Id
    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    arxiv: str = Field(pattern=r"^(\d{4}\.\d{5})?$")  # empty for a study of our own
    year: int
    bibtex: str
    code: str | None = None
    extra: str | None = None
    notebook: str = ""
    summary: str
    tuning: str
    stand_ins: tuple[str, ...]
    seeds: Seeds
    hyperparameters: dict[str, Sourced] = {}
    tables: dict[Id, Table] = {}
    figures: dict[Id, Figure] = {}
    claims: dict[Id, Claim] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, content: Any) -> Any:
        claims = content.get("claims") if isinstance(content, Mapping) else None
        return {**content, "claims": expand(claims)} if isinstance(claims, Mapping) else content

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        primary = [name for name, claim in self.claims.items() if claim.primary]
        if len(primary) > 1:
            raise ValueError(f"one primary claim per paper; found {primary}")
        for name, claim in self.claims.items():
            if claim.of is not None and claim.of not in self.claims:
                raise ValueError(f"claims.{name}.of '{claim.of}' is not a claim")
            if claim.control is None:
                continue
            control = self.claims.get(claim.control)
            if control is None or control.role != "control":
                raise ValueError(
                    f"claims.{name}.control '{claim.control}' is not a claim row with role: control"
                )
        return self

    def ids(self) -> list[str]:
        """Ids of every table, figure and claim, in the order of the card."""
        return [*self.tables, *self.figures, *self.claims]

    def needs(self, only: tuple[str, ...] = ()) -> set[str]:
        """Sweeps needed for the selected ids (all of them by default).

        Raises:
            StudyError: an id is not in the card.
        """
        chosen: set[str] = set()
        entries: dict[str, Artefact | Claim] = {**self.tables, **self.figures, **self.claims}
        for name in only or self.ids():
            if name not in entries:
                raise unknown("table, figure or claim", name, entries, f"make list PAPER={self.slug}")
            chosen.update(entries[name].needs)
            control = getattr(entries[name], "control", None)
            if control:
                chosen.update(entries[control].needs)
        return chosen


def list_papers() -> list[str]:
    """Slugs of all papers that have a card, sorted."""
    return sorted(path.parent.name for path in papers_root().glob("*/paper.yaml"))


def load_card(slug: str) -> Card:
    """Load and check ``papers/<slug>/paper.yaml``.

    Raises:
        StudyError: no such paper, unreadable YAML, or a wrong or missing field; names file, field and fix.
    """
    if slug not in list_papers():
        raise unknown("paper", slug, list_papers(), "make list")
    return parse_card(papers_root() / slug / "paper.yaml")


def parse_card(path: Path) -> Card:
    """Load one card file; see `load_card`."""
    name = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    content = read_yaml(path, name)
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        raise StudyError("\n".join(_explain(name, problem) for problem in error.errors())) from error
    if card.slug != path.parent.name:
        raise StudyError(
            f"{name}: field 'slug' is '{card.slug}'; it has to be the folder's name '{path.parent.name}'"
        )
    return card


def _explain(name: str, problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "card"
    fixes = {
        "missing": "required field is missing; add it",
        "extra_forbidden": "unknown field; remove it or correct its spelling",
    }
    message = fixes.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{name}: field '{field}': {message}"
