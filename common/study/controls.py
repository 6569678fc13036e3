"""Controls written inside the claim that they control, expanded into rows of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INHERITED = ("metric", "kind", "test", "smallest_effect", "profile", "needs")
FIELDS = ("arm", "id", "statement", "place", *INHERITED)


def expand(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of a card file with each nested control as a row directly after its claim.

    A nested control names the arm that its report reads the claim for; what it leaves out is the claim's.
    Several stand in a list.

    Args:
        claims: Id to the fields of a row, as they stand in the file, not checked yet.

    Raises:
        ValueError: a nested control without an arm, with an unknown field, or whose id is another row's.
    """
    rows: dict[str, Any] = {}
    for name, claim in claims.items():
        nested = _nested(claim)
        if not nested:
            rows[name] = claim
            continue
        names = [_name(name, control) for control in nested]
        for row_name in names:
            if row_name in claims or row_name in rows or names.count(row_name) > 1:
                raise ValueError(
                    f"claims.{name}.control: its id '{row_name}' is another row's; give it another"
                )
        rows[name] = {**claim, "control": names[0]}
        rows |= {row: _row(name, claim, control) for row, control in zip(names, nested, strict=True)}
    return rows


def _nested(claim: Any) -> list[Mapping[str, Any]]:
    """The controls that stand inside a claim; an id alone names a row that stands elsewhere."""
    control = claim.get("control") if isinstance(claim, Mapping) else None
    listed = control if isinstance(control, list) else [control]
    return [part for part in listed if isinstance(part, Mapping)]


def _name(name: str, control: Mapping[str, Any]) -> str:
    strangers = [str(field) for field in control if field not in FIELDS]
    if strangers:
        raise ValueError(f"claims.{name}.control has no field '{strangers[0]}'; it has {', '.join(FIELDS)}")
    if not isinstance(control.get("arm"), str):
        raise ValueError(f"claims.{name}.control needs 'arm': the arm that stands in the method's place")
    return str(control.get("id", f"{name}_{control['arm']}"))


def _row(name: str, claim: Mapping[str, Any], control: Mapping[str, Any]) -> dict[str, Any]:
    inherited = {field: claim[field] for field in INHERITED if field in claim}
    statement = str(claim.get("statement", "")).removesuffix(".")
    words = {
        "statement": f"{statement}, with {control['arm']} in the method's place.",
        "place": f"control of {claim.get('place', '')}",
    }
    own = {field: value for field, value in control.items() if field != "id"}
    return {**words, **inherited, **own, "role": "control", "of": name}
