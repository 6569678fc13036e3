"""What a card lists: tables and figures of the paper, and claims with the tests that decide them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from string import Formatter
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Profile = Literal["smoke", "laptop", "desk", "gpu", "paper"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
Outcome = Literal[
    "reproduced", "not specific", "no effect", "contradicted", "cannot tell", "inconclusive", "untested"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
Kind = Literal["theorem", "mechanism", "trend", "headline", "systems", "audit"]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Cell = float | str | None


class Model(BaseModel):
    """Base of all card parts: unknown fields and infinite numbers are mistakes, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    exact: float | None = Field(default=None, ge=0)
    enumeration: bool = False

    KINDS: ClassVar[tuple[str, ...]] = ("greater", "less", "within", "order", "exact")

    @model_validator(mode="after")
    def _one_kind(self) -> Test:
        given = [kind for kind in self.KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.KINDS)}; found {given or 'none'}")
        if self.order is not None and not 2 <= len(self.order) == len(set(self.order)):
            raise ValueError(f"order needs two or more names, each once; found {list(self.order)}")
        if self.within is not None and not self.within[0] < self.within[1]:
            raise ValueError(f"within needs low < high; found {list(self.within)}")
        return self

    @property
    def kind(self) -> str:
        """Name of the one test given."""
        return next(kind for kind in self.KINDS if getattr(self, kind) is not None)

    @property
    def sign(self) -> float:
        """1 where larger values speak for the claim, -1 where smaller ones do."""
        return -1.0 if self.less is not None else 1.0

    @property
    def bound(self) -> float:
        """The value of `greater` or `less`; 0 for the differences of an order."""
        return self.less if self.less is not None else self.greater or 0.0

    @property
    def against_zero(self) -> bool:
        """Whether an effect is compared with none at all."""
        return self.kind in ("greater", "less") and self.bound == 0


class Premise(Model):
    """What has to hold in a run before it can say anything about the method.

    It looks at the baseline, or at whether the treatment was delivered; never at the outcome of a claim.

    Attributes:
        statement: In our words.
        metric: The one number per seed that `report.PREMISES` returns.
        test: The mean over seeds is `greater` or `less` than a bound, or `within` two.
        profile: Lowest profile that measures it.
        needs: Sweeps whose records it reads.
    """

    statement: str
    metric: str
    test: Test
    profile: Profile = "laptop"
    needs: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_a_bound(self) -> Premise:
        if self.test.kind not in ("greater", "less", "within"):
            raise ValueError(f"a premise is 'greater', 'less' or 'within'; found '{self.test.kind}'")
        return self

    def test_hash(self) -> str:
        """Hash of everything that decides whether it is met."""
        return _hash(self, {"metric", "test"})


class Sentence(Model):
    """One of the three sentences on what a paper taught us.

    Attributes:
        text: ``{c9}`` stands for the effect of claim c9 with its interval, ``{c9:.1%}`` for it in percent,
            ``{c9.verdict}``, ``{c9.reported}`` and ``{c9.n}`` for these; a premise has ``{id}`` alone.
        rests: The claims that it rests on, with the verdicts that it was written for.
    """

    text: str
    rests: dict[Id, Outcome] = Field(min_length=1)

    @model_validator(mode="after")
    def _well_formed(self) -> Sentence:
        self.quoted()
        return self

    def quoted(self) -> set[str]:
        """Ids that the text quotes.

        Raises:
            ValueError: a brace without its partner.
        """
        fields = [name for _, name, _, _ in Formatter().parse(self.text) if name is not None]
        return {name.partition(".")[0] for name in fields}


class Claim(Model):
    """A statement of the paper (or a control of ours) and the test that decides it.

    Attributes:
        statement: In our words.
        place: Where the paper says it.
        reported: The paper's number, with its unit.
        effect: The paper's number in the unit of `metric`, where the two can stand on one axis.
        kind: theorem, mechanism, trend, headline, systems or audit.
        ours: A question of ours that the paper does not ask; it stays outside Holm's family.
        own_instance: It was decided on an instance that we built ourselves; see `common.study.ledger.word`.
        role: ``control`` for rows that must not show the effect by themselves.
        metric: The one number per seed that `report.<id>` returns.
        test: See `Test`; left out only where `untested` says why no profile up to `gpu` can decide.
        control: Id of the claim row that the effect has to exceed, beside the rows that are `of` this claim.
            In the file it may stand nested, ``{arm: …}``, or as a list of these: loading expands them into
            rows of their own, see `common.study.controls.expand`.
        arm: For a control: the arm that the claim's measurement is taken for instead of the method.
        of: For a control: the claim that it controls, whose measurement it repeats.
        premises: What has to hold for the run to say anything about it; see `Premise`.
        smallest_effect: Smallest effect of interest, in units of the metric; sizes the power analysis.
        profile: Lowest profile that can decide.
        primary: Tested at 5 % by itself; the paper's other empirical claims are Holm-adjusted together.
        needs: Sweeps whose records it reads; none for an audit, which reads the card.
        untested: Why there is no test at the profiles that run here.
    """

    statement: str
    place: str
    reported: str = ""
    effect: float | None = None
    kind: Kind
    ours: bool = False
    own_instance: bool = False
    role: Literal["claim", "control"] = "claim"
    metric: str = ""
    test: Test | None = None
    control: Id | None = None
    arm: str | None = None
    of: Id | None = None
    premises: tuple[Id, ...] = ()
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

    @property
    def empirical(self) -> bool:
        """A sampled statement of the paper: one of those that are tested together."""
        return self.role == "claim" and not self.ours and self.test is not None and self.test.kind != "exact"

    def test_hash(self) -> str:
        """Hash of everything that decides the verdict; a change after the run is shown as amended."""
        fields = {"kind", "role", "metric", "test", "control", "smallest_effect", "primary", "ours"}
        return _hash(self, {*fields, "premises"})


def _hash(entry: Model, fields: set[str]) -> str:
    block = entry.model_dump(include=fields)
    return hashlib.sha256(json.dumps(block, sort_keys=True, default=list).encode()).hexdigest()[:16]
