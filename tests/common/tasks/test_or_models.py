import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks import or_models
from common.tasks.or_models import (
    EOS,
    HELDOUT,
    MAX_COMPLETION,
    MAX_PROMPT,
    VOCABULARY,
    OrModelsConfig,
)
from common.tasks.or_models.corruption import CORRUPTIONS, KINDS, corrupt, lucky_share, lucky_table
from common.tasks.or_models.formulation import Formulation, cut, formulations
from common.tasks.or_models.problems import FAMILIES
from common.tasks.or_models.solver import same_optimum
from common.tasks.or_models.verification import is_lucky, optimum, reward, step_reasons, verify

RIGHT = (None,) * 6
FEW = or_models.items(OrModelsConfig(seed=5, size=60))


def whole(limits):
    return itertools.product(*(range(limit + 1) for limit in limits))


def vertices(matrix, limits):
    """Corners of {x : matrix x ≤ limits}: every choice of n rows that meet in one feasible point."""
    n = matrix.shape[1]
    for rows in itertools.combinations(range(len(matrix)), n):
        square = matrix[list(rows)]
        if abs(np.linalg.det(square)) > 1e-9:
            point = np.linalg.solve(square, limits[list(rows)])
            if np.all(matrix @ point <= limits + 1e-9):
                yield point


def best_mix(p, domain):
    n = len(p["c"])
    low, up = np.array(p.get("lo", (0,) * n)), p.get("up")
    matrix = np.array([p["A1"], p["A2"], *-np.eye(n), *(np.eye(n) if up else ())], float)
    limits = np.array([*p["b1"], *p["b2"], *-low, *(up or ())], float)
    points = vertices(matrix, limits)
    if domain == "int":
        grid = np.indices((41,) * n).reshape(n, -1)
        points = grid.T[np.all(matrix @ grid <= limits[:, None], axis=0)]
    return max(float(np.dot(p["c"], x)) for x in points)


def best_batch(p):
    n, k = len(p["c"]), p["k"][0]
    boxes = (k * np.array(z) for z in whole((40 // k,) * n))
    rows = (("A1", "b1"), ("A2", "b2"))
    return max(float(np.dot(p["c"], x)) for x in boxes if all(np.dot(p[a], x) <= p[b][0] for a, b in rows))


def best_knap(p):
    picks = itertools.product((0, 1), repeat=len(p["c"]))
    return max(float(np.dot(p["c"], x)) for x in picks if np.dot(p["A1"], x) <= p["b1"][0])


def best_trans(p):
    def cost(first):
        return np.dot(p["c1"], first) + np.dot(p["c2"], np.subtract(p["d"], first))

    total = sum(p["d"])
    shipped = (x for x in whole(p["d"]) if sum(x) <= p["s1"][0] and total - sum(x) <= p["s2"][0])
    return min(float(cost(x)) for x in shipped)


def best_fix(p):
    """Open plants are filled in the order of their unit costs."""

    def cost(opened):
        need, total = p["D"][0], 0
        for plant in sorted(opened, key=lambda i: p["c"][i]):
            used = min(need, p["K"][plant])
            need, total = need - used, total + p["f"][plant] + p["c"][plant] * used
        return np.inf if need else total

    n = len(p["f"])
    return float(min(cost(o) for size in range(n + 1) for o in itertools.combinations(range(n), size)))


def enumerated(item):
    p = dict(item.parameters)
    if item.family == "mix":
        return best_mix(p, item.domain)
    return {"knap": best_knap, "trans": best_trans, "fix": best_fix, "batch": best_batch}[item.family](p)


@pytest.mark.parametrize("item", FEW[:30], ids=lambda item: item.family)
def test_optimum_by_enumeration(item):
    assert optimum(item) == pytest.approx(enumerated(item), rel=1e-9)
    assert optimum(item) > 0


@pytest.mark.parametrize("item", FEW, ids=lambda item: item.family)
def test_right_solutions_are_right_in_every_step(item):
    truths = formulations(item)
    assert len(truths) == (2 if item.family == "batch" else 1)
    for truth in truths:
        tokens = truth.text.split()
        assert verify(tokens, item).outcome == "right"
        assert step_reasons(tokens, item) == RIGHT
        assert not is_lucky(tokens, item)
        assert set(tokens) | set(item.prompt.split()) <= set(VOCABULARY)
        assert len(tokens) <= MAX_COMPLETION
        assert len(item.prompt.split()) <= MAX_PROMPT


def test_every_number_of_a_problem_stands_in_its_text():
    for item in FEW:
        words = f" {item.prompt} "
        for _, values in item.parameters:
            assert f" {' '.join(map(str, values))} " in words


def test_the_longest_texts_fit():
    items = or_models.items(OrModelsConfig(seed=9, size=1000))
    assert max(len(item.prompt.split()) for item in items) <= MAX_PROMPT
    assert max(len(t.text.split()) for item in items for t in formulations(item)) <= MAX_COMPLETION
    assert max(value for item in items for _, values in item.parameters for value in values) <= 99


def test_splits_are_disjoint_for_any_seeds():
    def numbers(config):
        return {(item.family, item.parameters, item.domain) for item in or_models.items(config)}

    heldout = numbers(HELDOUT) | numbers(OrModelsConfig(seed=1, size=300, split="heldout"))
    trained = numbers(OrModelsConfig(size=600)) | numbers(OrModelsConfig(seed=1, size=600))
    stream = or_models.stream(OrModelsConfig(seed=1))
    trained |= {(i.family, i.parameters, i.domain) for i, _ in itertools.islice(stream, 300)}
    assert not heldout & trained


def test_seeds_share_next_to_nothing_and_items_are_a_prefix():
    first, second = (set(or_models.items(OrModelsConfig(seed=seed, size=300))) for seed in (0, 1))
    assert len(first) == 300
    assert len(first & second) <= 3
    assert or_models.items(OrModelsConfig(size=20)) == or_models.items(OrModelsConfig(size=40))[:20]


def test_families_in_turn_and_only_the_given_scenarios():
    items = or_models.items(OrModelsConfig(size=40, families=("fix", "knap"), scenarios=(1, 3)))
    assert [item.family for item in items[:4]] == ["fix", "knap", "fix", "knap"]
    assert {item.scenario for item in items} == {1, 3}


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"size": 0},
        {"split": "test"},
        {"families": ("tsp",)},
        {"families": ()},
        {"scenarios": (4,)},
    ],
)
def test_configuration_is_checked(wrong):
    with pytest.raises(ValueError, match=f"OrModelsConfig.{next(iter(wrong))} is"):
        or_models.items(OrModelsConfig(**wrong))


def test_a_solution_by_hand():
    item = next(item for item in FEW if item.family == "knap")
    steps = [" ".join(step) for step in cut(formulations(item)[0].text.split()).steps]
    n = len(dict(item.parameters)["c"])
    assert [steps[0], *steps[2:]] == [
        "knap max",
        f"x bin {n}",
        "max c x",
        "A1 x <= b1",
        f"x bin {n} ; max c x ; A1 x <= b1",
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_makes_the_steps_wrong_that_it_names(family):
    rng = np.random.default_rng(0)
    for item in or_models.items(OrModelsConfig(seed=2, size=30, families=(family,))):
        for kind in KINDS["usual"][family]:
            draw = corrupt(item, rng, (kind,))
            if draw is not None:
                reasons = step_reasons(draw.formulation.text.split(), item)
                wrong = tuple(number for number, reason in enumerate(reasons, start=1) if reason)
                assert wrong == CORRUPTIONS[kind].steps, kind
                assert set(draw.formulation.text.split()) <= set(VOCABULARY)


def test_a_unit_that_later_steps_do_not_use_is_blamed_on_its_step():
    item = next(item for item in FEW if item.family == "batch")
    draw = corrupt(item, np.random.default_rng(0), ("wrong unit",))
    tokens = draw.formulation.text.split()
    assert step_reasons(tokens, item) == (None, None, "unit", None, None, None)
    assert is_lucky(tokens, item)


def test_every_kind_occurs_and_one_that_cannot_gives_nothing():
    rng = np.random.default_rng(1)
    kinds = {corrupt(item, rng, (kind,)).kind for item in FEW for kind in KINDS["none"][item.family]}
    assert kinds == {kind for family in FAMILIES for kind in KINDS["none"][family]}
    assert corrupt(next(i for i in FEW if i.family == "knap"), rng, ("drop link",)) is None


def test_the_lucky_table_and_the_dial():
    table = {(rate.family, rate.kind): rate for rate in lucky_table(10, seed=0)}
    assert set(table) == {(family, kind) for family in FAMILIES for kind in KINDS["usual"][family]}
    assert all(0 <= rate.lucky <= rate.n <= 10 for rate in table.values())
    # By argument: the transport matrix is totally unimodular, and the units are remarks to the program.
    for family, kind in (("trans", "int to cont"), ("batch", "wrong unit")):
        assert table[family, kind].lucky == table[family, kind].n
    for family in ("knap", "trans", "fix", "batch"):
        for kind in KINDS["none"][family]:
            assert table[family, kind].lucky == 0, (family, kind)
    shares = [lucky_share(60, 0, dial, rate=0.5) for dial in ("none", "usual", "high")]
    assert shares[0] < 0.02 < 0.1 < shares[1] < shares[2]


def completion(item, *steps):
    return Formulation(steps[0], item.parameters, (steps[1],), steps[2], tuple(steps[3:])).text.split()


def test_every_outcome_has_its_verdict():
    item = next(item for item in FEW if item.family == "knap")
    n = len(dict(item.parameters)["c"])

    def outcome(*steps):
        return verify(completion(item, "knap max", *steps), item).outcome

    assert outcome(f"x bin {n}", "max c x", "A1 x <= b1") == "right"
    assert outcome(f"x bin {n}", "min c x", "A1 x <= b1") == "wrong value"
    assert outcome(f"x int {n}", "max c x", "A1 x >= b1") == "unbounded"
    assert outcome(f"x cont {n}", "max c x", "A1 x >= b1") == "unbounded"
    assert outcome(f"x bin {n}", "max c x", "A1 x <= b1", "c x <= A1") == "malformed"
    assert outcome("y bin 3", "max c x", "A1 x <= b1") == "malformed"
    assert verify((), item).outcome == "malformed"
    assert reward((), item) == 0


def test_infeasible_programs():
    item = next(item for item in FEW if item.family == "trans")
    n = len(dict(item.parameters)["d"])
    tokens = completion(item, "trans min", f"x1 bin {n}", "min c1 x1", "x1 >= d")
    assert verify(tokens, item).outcome == "infeasible"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(VOCABULARY), max_size=40), st.integers(0, len(FEW) - 1))
def test_any_tokens_have_an_outcome_and_six_reasons(tokens, place):
    item = FEW[place]
    assert verify(tokens, item).outcome == "malformed"
    reasons = step_reasons(tokens, item)
    assert len(reasons) == 6
    assert set(reasons) <= {None, *or_models.REASONS}


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_solution_with_one_other_token_is_judged(data):
    item = FEW[data.draw(st.integers(0, len(FEW) - 1))]
    tokens = formulations(item)[0].text.split()
    place = data.draw(st.integers(0, len(tokens) - 1))
    tokens[place] = data.draw(st.sampled_from(VOCABULARY))
    changed = tokens != formulations(item)[0].text.split()
    verdict, reasons = verify(tokens, item), step_reasons(tokens, item)
    assert verdict.outcome == "malformed" or any(reasons) == changed
    assert (verdict.outcome == "right") <= same_optimum(verdict.objective, optimum(item))
    assert bool(verdict.detail) == (verdict.outcome == "malformed")


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("", "end with"),
        ("<step> a </step>", "end with"),
        (f"<step> a </step> {EOS}", "1 steps"),
        (f"<step> a {EOS}", "open"),
        (f"a <step> b </step> {EOS}", "'a' stands"),
        (f"<step> <step> b </step> {EOS}", "'<step>' stands"),
        (f"<step> b </step> {EOS} {EOS}", "stands"),
    ],
)
def test_defects(text, defect):
    assert defect in cut(text.split()).defect
