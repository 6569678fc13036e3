"""Molecules by hand and by brute force; every text has an outcome, every oracle call is counted once."""

import gzip
import json
import math
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import product

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import QED
from rdkit.Chem.Scaffolds import MurckoScaffold

from common.study.errors import StudyError
from common.study.paths import ROOT
from common.tasks.molecules import chemistry, search, smiles_file, templates
from common.tasks.molecules.assay import OUTCOMES, Assay, Bench
from common.tasks.molecules.chemistry import Refused, Unreadable, canonical
from common.tasks.molecules.designs import Lead, Space, bonded_atoms, decompose, fill
from common.tasks.molecules.drawing import picture
from common.tasks.molecules.environment import CLOSE, LeadOptimization, vocabulary
from common.tasks.molecules.goals import TASKS, Goal, Task, level, oracles, task

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
EASY = Task("logp", (Goal("logp", gain=0.4),), similarity=0.0)
LIBRARY = Space(("[H]", "C", "F", "OC", "O", "C#N"))
XYLENOL = LIBRARY.lead("Cc1ccc(O)cc1")


def bench(goal=EASY, **options):
    return Bench(goal, oracles(goal), **options)


def assay(goal=EASY, lead=XYLENOL.smiles, **options):
    return Assay(lead, goal, oracles(goal), **options)


# Properties


def test_properties_by_hand():
    assert chemistry.log_p("c1ccccc1") == pytest.approx(6 * 0.1581 + 6 * 0.1230)  # Crippen's C18 and H1
    ring = chemistry.log_p("C1CCCCCCC1") - chemistry.synthetic_accessibility("C1CCCCCCC1")
    assert chemistry.penalised_log_p("C1CCCCCCC1") == pytest.approx(ring - 2)  # a ring of eight
    assert chemistry.heavy_atoms(ASPIRIN) == 13


def test_qed_is_the_weighted_geometric_mean_of_its_desirabilities():
    quantities = QED.properties(Chem.MolFromSmiles(ASPIRIN))

    def desirability(x, p):
        inner = 1 + math.exp(-(x - p.C + p.D / 2) / p.E)
        return (p.A + p.B / inner * (1 - 1 / (1 + math.exp(-(x - p.C - p.D / 2) / p.F)))) / p.DMAX

    logs = [math.log(desirability(x, QED.adsParameters[name])) for name, x in quantities._asdict().items()]
    weights = QED.WEIGHT_MEAN
    mean = sum(w * x for w, x in zip(weights, logs, strict=True)) / sum(weights)
    assert chemistry.qed(ASPIRIN) == pytest.approx(math.exp(mean))


def test_similarity_is_that_of_sets_of_bits():
    other = "CC(=O)Nc1ccc(O)cc1"
    a, b = (set(chemistry.fingerprint(s).GetOnBits()) for s in (ASPIRIN, other))
    assert chemistry.similarity(ASPIRIN, other) == len(a & b) / len(a | b)
    assert chemistry.similarity(ASPIRIN, "OC(=O)c1ccccc1OC(C)=O") == 1


@pytest.mark.parametrize(
    ("smiles", "longest"),
    [("CCCCCCCC", 8), ("Cc1ccccc1", 1), ("CC(C)C", 3), ("c1ccccc1", 0), ("CCOCC", 2), ("CCC(CC(C)C)CCC", 7)],
)
def test_the_longest_carbon_chain(smiles, longest):
    assert chemistry.carbon_chain(smiles) == longest


def test_the_longest_carbon_chain_by_brute_force():
    def paths(molecule, path):
        yield len(path)
        for atom in molecule.GetAtomWithIdx(path[-1]).GetNeighbors():
            if atom.GetSymbol() == "C" and not atom.IsInRing() and atom.GetIdx() not in path:
                yield from paths(molecule, [*path, atom.GetIdx()])

    rng = np.random.default_rng(0)
    for _ in range(30):
        smiles = templates.draw(rng).smiles
        molecule = Chem.MolFromSmiles(smiles)
        starts = [a.GetIdx() for a in molecule.GetAtoms() if a.GetSymbol() == "C" and not a.IsInRing()]
        longest = max((n for start in starts for n in paths(molecule, [start])), default=0)
        assert chemistry.carbon_chain(smiles) == longest


def test_a_property_is_the_same_however_the_molecule_is_written():
    random.seed(0)
    names = sorted(chemistry.ORACLES)
    for lead in (templates.draw(np.random.default_rng(seed)) for seed in range(5)):
        molecule = Chem.MolFromSmiles(lead.smiles)
        written = {Chem.MolToSmiles(molecule, doRandom=True) for _ in range(5)}
        assert len({tuple(chemistry.ORACLES[name](text) for name in names) for text in written}) == 1


def test_another_process_computes_the_same():
    leads = [templates.draw(np.random.default_rng(seed)).smiles for seed in range(5)]
    code = (
        "import sys; from common.tasks.molecules.chemistry import ORACLES, similarity\n"
        "print([[f(s) for f in ORACLES.values()] + [similarity(s, sys.argv[1])] for s in sys.argv[1:]])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    other = subprocess.run(
        [sys.executable, "-c", code, *leads], capture_output=True, text=True, check=True, env=environment
    )
    here = [[f(s) for f in chemistry.ORACLES.values()] + [chemistry.similarity(s, leads[0])] for s in leads]
    assert other.stdout.strip() == str(here)


# Texts that are no molecules


@pytest.mark.parametrize("text", ["", " ", "C C", "CC.O", "c1ccc", "xyz", "C\x00", "C" * 501, "ĉ", "C |$R$|"])
def test_what_is_no_smiles_is_unreadable(text):
    with pytest.raises(Unreadable):
        canonical(text)


@pytest.mark.parametrize("text", ["C(C)(C)(C)(C)C", "c1cccc1", "*C", "F(C)C", "[CH7]"])
def test_a_molecule_that_rdkit_refuses(text):
    with pytest.raises(Refused):
        canonical(text)


@given(st.text() | st.text(alphabet="CNOFcno()[]=#123+-@/\\.%*H", max_size=40))
@settings(max_examples=100)
def test_every_text_has_an_outcome(text):
    verdict = assay().judge(text)
    assert verdict.outcome in OUTCOMES
    assert verdict.charged is (verdict.outcome in ("ok", "error") and verdict.smiles != XYLENOL.smiles)


def test_the_log_is_silent_inside_and_nowhere_else(capfd):
    with pytest.raises(Refused):
        canonical("C(C)(C)(C)(C)C")
    with pytest.raises(Unreadable):
        canonical("c1ccc")
    assert capfd.readouterr().err == ""
    Chem.MolFromSmiles("c1ccc")
    assert "c1ccc" in capfd.readouterr().err


# Designs


def joined(template, fragments):
    """The molecule by bonds instead of text."""
    pieces = [template.format(*(f"[*:{slot}]" for slot in range(1, len(fragments) + 1)))]
    pieces += [f"[*:{slot}]{fragment}" for slot, fragment in enumerate(fragments, start=1)]
    molecules = [Chem.MolFromSmiles(piece, sanitize=False) for piece in pieces]
    whole = molecules[0]
    for piece in molecules[1:]:
        whole = Chem.CombineMols(whole, piece)
    return canonical(Chem.MolToSmiles(Chem.molzip(whole)))


def test_a_filled_template_is_the_molecule_that_bonds_make():
    rng = np.random.default_rng(0)
    for template in templates.TEMPLATES:
        for _ in range(8):
            chains = [templates.SIDE_CHAINS[index] for index in rng.integers(40, size=3)]
            assert canonical(fill(template, chains)) == joined(template, chains)


def test_rings_of_a_fragment_do_not_close_on_the_scaffold():
    assert canonical(fill("C1C({0})CCCC1", ["C1CC1"])) == "C1CCC(C2CC2)CC1"
    assert canonical(fill("c1c({0})cccc1", ["c1ccccc1"])) == "c1ccc(-c2ccccc2)cc1"
    assert fill("C{0}", ["[15NH2]"]) == "C[15NH2]"


@pytest.mark.parametrize(
    ("smiles", "template", "chains"),
    [
        ("Cc1ccccc1", "c1ccc({0})cc1", ("C",)),
        ("O=C1CCCCC1", "O=C1CCCCC1", ()),  # what hangs on a double bond belongs to the scaffold
        ("CC(=O)c1ccc(Cl)cc1", "c1cc({0})ccc1{1}", ("C(C)=O", "Cl")),
        ("Cn1cccc1", "c1ccn({0})c1", ("C",)),
    ],
)
def test_side_chains_by_hand(smiles, template, chains):
    parts = decompose(smiles)
    assert sorted(parts.side_chains) == sorted(chains)
    assert canonical(fill(parts.template, parts.side_chains)) == canonical(smiles)
    assert parts.scaffold == decompose(fill(template, ["[H]"] * len(chains))).scaffold


@pytest.mark.parametrize("smiles", ["CCO", "C"])
def test_a_molecule_without_a_ring_has_no_scaffold(smiles):
    assert decompose(smiles) is None
    assert LIBRARY.lead(smiles) is None


def test_cutting_and_filling_are_inverse_and_the_scaffold_is_murckos():
    rng = np.random.default_rng(1)
    for _ in range(60):
        smiles = templates.draw(rng).smiles
        parts = decompose(smiles)
        assert canonical(fill(parts.template, parts.side_chains)) == smiles
        assert parts.scaffold == canonical(MurckoScaffold.MurckoScaffoldSmiles(smiles))
        assert len(bonded_atoms(parts.template)) == len(parts.side_chains)


def test_a_lead_has_side_chains_of_the_library():
    assert sorted(XYLENOL.design) == ["C", "O"]
    assert LIBRARY.lead("Cc1ccc(Br)cc1") is None
    assert LIBRARY.lead("Cc1ccccc1") is None  # one slot only
    assert LIBRARY.lead("nonsense") is None


@pytest.mark.parametrize("design", [(), ("C",), ("C", "C", "C"), ("C", "Br"), ("{0}", "C")])
def test_what_is_no_design_is_unreadable(design):
    with pytest.raises(Unreadable):
        LIBRARY.smiles(XYLENOL, design)


# Goals


def test_rewards_by_hand():
    qed, joint = TASKS["qed"], TASKS["qed+sa"]
    at = {"qed": 0.6, "sa": 3.0}
    assert qed.reward({"qed": 0.7}, at, at) == pytest.approx(0.5)
    assert qed.reward({"qed": 0.5}, at, at) == pytest.approx(-0.1)
    assert qed.reward({"qed": 0.6}, at, at) == 0
    assert qed.reward({"qed": 0.85}, at, at) == 5
    assert TASKS["sa"].reward({"sa": 2.8}, at, at) == pytest.approx(1.0)  # less is better
    assert joint.reward({"qed": 0.65, "sa": 2.9}, at, at) == pytest.approx(10 * 0.05 + 2 * 0.1)
    assert joint.reward({"qed": 0.70001, "sa": 2.5}, at, at) == pytest.approx(1.0001 + 1.0 + 9)


def test_windows_and_successes():
    assert TASKS["qed"].admits({"qed": 0.55})
    assert not TASKS["qed"].admits({"qed": 0.71})
    assert TASKS["logp"].passed({"logp": 2.0}, {"logp": 1.0})
    assert TASKS["drd2"].passed({"drd2": 0.8}, {"drd2": 0.6})  # by its level
    assert not TASKS["drd2"].passed({"drd2": 0.79}, {"drd2": 0.6})
    assert (level("qed", 0.0), level("qed", 0.849), level("qed", 1.0), level("sa", -5)) == (0, 16, 19, 0)


def test_activities_need_a_users_function():
    with pytest.raises(StudyError, match=r"task 'jnk3' needs a function .* jnk3=my_module:score"):
        oracles(task("jnk3"))
    assert oracles(task("jnk3"), {"jnk3": len})["jnk3"]("CCO") == 3.0
    assert oracles(task("drd2"), {"drd2": "builtins:len"})["drd2"]("CC") == 2.0
    for place in ("builtins:nothing", "no_such_module:f", "builtins", "math:pi"):
        with pytest.raises(StudyError):
            oracles(task("drd2"), {"drd2": place})
    with pytest.raises(StudyError, match="did you mean 'qed'"):
        oracles(task("drd2"), {"qde": len})
    with pytest.raises(StudyError, match="did you mean 'plogp'"):
        task("ploqp")


# The budget


def test_a_call_is_counted_for_each_new_admissible_molecule_and_never_above_the_budget():
    asked = []
    lead = templates.draw(np.random.default_rng(3))
    judge = Assay(lead.smiles, EASY, {"logp": lambda smiles: asked.append(smiles) or 1.0}, budget=25)
    asked.clear()  # the lead is free
    rng, paid = np.random.default_rng(0), set()
    kinds = set()
    for _ in range(300):
        chains = [templates.SIDE_CHAINS[index] for index in rng.integers(12, size=3)]
        smiles = canonical(fill(lead.template, chains))
        similar = chemistry.similarity(smiles, lead.smiles) >= EASY.similarity
        free = smiles in paid or smiles == lead.smiles or not similar
        verdict = judge.judge(smiles)
        kinds.add(verdict.outcome)
        assert verdict.charged is (not free and len(paid) < 25)
        paid |= {smiles} if verdict.charged else set()
        assert judge.calls == len(asked) == len(paid)
    assert judge.calls == 25
    assert kinds >= {"ok", "exhausted"}


def test_what_costs_nothing():
    judge = assay(Task("logp", (Goal("logp"),), similarity=0.99, heaviest=9))
    for text, outcome in [
        ("nonsense", "invalid"),
        ("c1cccc1", "refused"),
        ("CCCCCCCCCC", "dissimilar"),
        ("Oc1ccc(C)cc1", "ok"),
    ]:
        assert judge.judge(text).outcome == outcome
    heavy = Task("logp", (Goal("logp"),), similarity=0.0, heaviest=8, chain=7)
    assert assay(heavy).judge("Cc1ccc(OC)cc1").outcome == "violation"
    assert assay(heavy).judge("CCCCCCCC").outcome == "violation"
    assert judge.calls == 0


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), None, "text"])
def test_an_oracle_that_fails_costs_one_call_and_is_an_outcome(answer):
    answers = iter([1.0, answer])
    scored = oracles(task("jnk3"), {"jnk3": lambda _: next(answers)})
    judge = Assay(XYLENOL.smiles, Task("jnk3", (Goal("jnk3"),), similarity=0.0), scored)
    for charged in (True, False):  # the failure is remembered
        verdict = judge.judge("Cc1ccc(F)cc1")
        assert (verdict.outcome, verdict.charged, judge.calls) == ("error", charged, 1)


def test_what_cannot_be_a_lead():
    for text in ("nonsense", "c1cccc1"):
        with pytest.raises(StudyError, match=f"'{text}' cannot be a lead"):
            assay(lead=text)


PROPOSALS = [canonical(fill(XYLENOL.template, pair)) for pair in product(LIBRARY.side_chains, repeat=2)]


def played(journal, killed_at=None):
    """All proposals; the process dies inside an oracle call, before it is on record."""
    count = 0

    def oracle(smiles):
        nonlocal count
        count += 1
        if count - 1 == killed_at:  # the first is the lead's
            os.kill(os.getpid(), signal.SIGKILL)
        return chemistry.log_p(smiles)

    judge = Assay(XYLENOL.smiles, EASY, {"logp": oracle}, budget=12, journal=journal)
    verdicts = [judge.judge(smiles) for smiles in PROPOSALS]
    return judge, verdicts, count - 1


def test_the_budget_is_exact_after_a_kill(tmp_path):
    whole, verdicts, _ = played(tmp_path / "whole.jsonl")
    journal = tmp_path / "killed.jsonl"
    for killed_at in (3, 4):  # the second process pays for three calls more before it dies
        child = os.fork()
        if child == 0:
            played(journal, killed_at)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    resumed, again, fresh = played(journal)
    assert (resumed.state, resumed.calls) == (whole.state, 12)
    assert fresh == 12 - 2 - 3
    assert [verdict.outcome for verdict in again] == [verdict.outcome for verdict in verdicts]
    assert journal.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("kept", range(0, 260, 20))
def test_a_torn_journal_is_continued(tmp_path, kept):
    whole, _, _ = played(tmp_path / "whole.jsonl")
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes((tmp_path / "whole.jsonl").read_bytes()[:kept])
    assert played(torn)[0].state == whole.state
    assert torn.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_journal_of_another_lead_is_refused(tmp_path):
    played(tmp_path / "journal")
    with pytest.raises(StudyError, match="is the journal of"):
        assay(lead=ASPIRIN, journal=tmp_path / "journal")


def test_a_bench_goes_on_from_its_state():
    one, other = bench(budget=5), bench(budget=5)
    for smiles in PROPOSALS[:4]:
        one.assay(XYLENOL.smiles).judge(smiles)
    other.restore(json.loads(json.dumps(one.state)))
    assert other.calls == one.calls > 0
    assert other.state == one.state
    with pytest.raises(StudyError, match="cannot continue"):
        other.assay(ASPIRIN).restore(one.state[XYLENOL.smiles])


# The environment


def world(goal=EASY, leads=(XYLENOL,), space=LIBRARY, turns=5, **options):
    return LeadOptimization(space, bench(goal, **options), leads, turns)


def test_the_environment_is_one_of_gymnasium():
    check_env(world(), skip_render_check=True)


def test_outcomes_and_rewards_of_turns():
    env = world(turns=9)
    prompt, info = env.reset(options={"lead": 0})
    assert (info["outcome"], info["smiles"], info["calls"]) == ("ok", XYLENOL.smiles, 0)
    c, o = XYLENOL.design
    base = chemistry.log_p(XYLENOL.smiles)
    for action, outcome, reward in [
        (f"{c} {o} {CLOSE}", "same", -0.3),
        ("", "invalid", -0.5),
        (f"{c}{o}", "invalid", -0.5),
        ("F F", "ok", 5 * (chemistry.log_p("Fc1ccc(F)cc1") - base)),
        ("F F", "same", -0.3),
        ("[H] [H]", "ok", chemistry.log_p("c1ccccc1") - chemistry.log_p("Fc1ccc(F)cc1")),
        ("O O", "ok", chemistry.log_p("Oc1ccc(O)cc1") - chemistry.log_p("Fc1ccc(F)cc1")),
    ]:
        observation, got, ended, cut, info = env.step(action)
        assert (info["outcome"], got) == (outcome, pytest.approx(reward)), action
        assert (ended, cut) == (False, False)
    assert "now F F" in observation  # the best so far stays
    assert prompt.split()[-1] == "<mol>"


def test_dissimilarity_is_measured_to_the_lead_and_punished_by_its_distance():
    env = world(Task("logp", (Goal("logp", gain=9.0),), similarity=0.5))
    env.reset()
    _, reward, _, _, info = env.step("F C#N")
    assert info["outcome"] == "dissimilar"
    assert reward == pytest.approx(-2 * (0.5 - chemistry.similarity("Fc1ccc(C#N)cc1", XYLENOL.smiles)))


def test_success_ends_and_time_and_budget_cut():
    goal = Task("qed", (Goal("qed", level=0.0),), prize=5.0, ends=True, similarity=0.0)
    env = world(goal)
    env.reset()
    assert env.step("F F")[1:4] == (5.0, True, False)
    env = world(Task("logp", (Goal("logp", gain=9.0),), similarity=0.0), budget=1, turns=3)
    env.reset()
    assert env.step("F F")[2:4] == (False, False)
    _, reward, ended, cut, info = env.step("F C")
    assert (reward, ended, cut, info["outcome"], info["calls"]) == (0.0, False, True, "exhausted", 1)
    env.reset()
    assert env.step("F F")[4]["outcome"] == "ok"  # known, so free
    env.step("")
    assert env.step("")[2:4] == (False, True)


def test_a_trajectory_may_start_from_an_elite():
    env = world()
    prompt, info = env.reset(options={"lead": 0, "start": ("F", "F")})
    assert "now F F t1" in prompt
    assert info["similarity"] < 1  # to the lead
    with pytest.raises(StudyError, match="cannot start from Br"):
        env.reset(options={"start": ("Br",)})


def test_environments_of_a_bench_share_a_leads_budget():
    shared = bench()
    one, other = (LeadOptimization(LIBRARY, shared, [XYLENOL]) for _ in range(2))
    for env in (one, other):
        env.reset()
        env.step("F F")
    assert shared.calls == 1


def test_a_trajectory_goes_on_from_its_state():
    one, other = world(), world()
    one.reset(options={"lead": 0})
    one.step("F F")
    other.bench.restore(json.loads(json.dumps(one.bench.state)))
    other.restore(json.loads(json.dumps(one.state)))
    for action in ("F F", "F C", "x"):
        assert one.step(action) == other.step(action)


ACTIONS = ["F F", "C", "C O </mol>", "</mol>", "{0} F", "C#N C"]


@given(st.lists(st.text() | st.sampled_from(ACTIONS), max_size=5))
@settings(max_examples=60)
def test_every_action_has_an_outcome_in_the_vocabulary(actions):
    known, env = set(vocabulary(LIBRARY)), world()
    prompt, _ = env.reset(seed=0)
    assert set(prompt.split()) <= known
    widths = set()
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        assert math.isfinite(reward)
        assert info["outcome"] in OUTCOMES
        assert set(observation.split()) <= known
        widths.add(len(observation.split()))
    assert len(widths) <= 1


def test_a_seed_draws_the_lead():
    leads = [templates.draw(np.random.default_rng(seed)) for seed in range(6)]
    env = world(leads=leads, space=templates.SPACE)
    drawn = [env.reset(seed=seed)[0] for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 2
    assert all(set(prompt.split()) <= set(vocabulary(templates.SPACE)) for prompt in drawn)
    with pytest.raises(StudyError, match="needs a lead"):
        world(leads=())


# Searches


@pytest.mark.parametrize("name", search.SEARCHES)
def test_a_search_finds_what_enumeration_finds(name):
    def merits(goal):
        judge = assay(goal)
        verdicts = [judge.judge(smiles) for smiles in PROPOSALS]
        return [goal.merit(v.values, judge.lead_values) for v in verdicts if v.outcome == "ok"]

    best = max(merits(EASY))
    for gain, solvable in ((best - 1e-9, True), (best + 1e-9, False)):
        goal = Task("logp", (Goal("logp", gain=gain),), similarity=EASY.similarity)
        judge = assay(goal)
        found = search.SEARCHES[name](LIBRARY, XYLENOL, judge, np.random.default_rng(0))
        assert (found.success, found.merit) == (solvable, pytest.approx(best))
        assert found.calls == judge.calls == len(found.curve)
        assert found.curve == sorted(found.curve)
        assert judge.judge(LIBRARY.smiles(XYLENOL, found.design)).outcome == "ok"


@pytest.mark.parametrize("name", search.SEARCHES)
def test_a_search_keeps_to_its_budget_and_is_fixed_by_its_generator(name):
    lead = templates.draw(np.random.default_rng(5))
    hopeless = Task("logp", (Goal("logp", gain=99.0),), similarity=0.3)
    first, second = (
        search.SEARCHES[name](
            templates.SPACE, lead, assay(hopeless, lead.smiles, budget=20), np.random.default_rng(2)
        )
        for _ in range(2)
    )
    assert first == second
    assert first.calls == 20


def test_a_survey_keeps_leads_with_a_witness():
    goal, rng = TASKS["logp"], np.random.default_rng(0)
    candidates = [None, *(templates.draw(rng) for _ in range(8))]
    found = search.survey(templates.SPACE, [*candidates, candidates[1]], goal, oracles(goal), count=3)
    assert len(found.leads) == 3
    assert 0 < found.solvable <= 1
    for lead in found.leads:
        verdict = assay(goal, lead.smiles).judge(templates.SPACE.smiles(lead, lead.witness))
        assert goal.passed(verdict.values, {"logp": chemistry.log_p(lead.smiles)})
        assert 0 < lead.witness_calls <= search.PROOF
    with pytest.raises(StudyError, match=r"9 leads for 'logp' wanted; of \d+ molecules"):
        search.survey(templates.SPACE, candidates[:2], goal, oracles(goal), count=9)


def test_a_lead_that_breaks_the_limits_itself_is_none():
    long = Lead(canonical("CCCCCCCCc1ccccc1"), ("s0", "CCCCCCCC", "[H]", "[H]"), templates.TEMPLATES[0])
    with pytest.raises(StudyError, match="the task takes 0 of these"):
        search.survey(templates.SPACE, [long], TASKS["sa"], oracles(TASKS["sa"]), count=1)


def test_the_template_space_holds_molecules_only():
    rng = np.random.default_rng(0)
    leads = [templates.draw(rng) for _ in range(100)]
    assert all(lead.smiles == canonical(lead.smiles) for lead in leads)
    assert {templates.draw(rng, templates.HELD_OUT).design[0] for _ in range(30)} <= set(templates.HELD_OUT)
    assert isinstance(leads[0], Lead)


def test_a_picture_marks_side_chains_only():
    bare, decorated = picture("c1ccccc1", 60, 40), picture("Cc1ccccc1", 60, 40)
    assert decorated.shape == (40, 60, 4)
    gold = np.array([255, 222, 140])
    near = [np.abs(image[..., :3].astype(int) - gold).sum(-1).min() for image in (bare, decorated)]
    assert near[1] < 10 < near[0]
    assert np.array_equal(decorated, picture("c1ccccc1C", 60, 40))


# Files of a user


def test_a_smi_file(tmp_path):
    path = tmp_path / "zinc.smi"
    path.write_text("smiles zinc_id\nOCC ZINC1\n\n# note\nCCO\tZINC2\nc1cccc1 ZINC3\nc1ccccc1\r\n")
    found = smiles_file.read(path)
    assert found.smiles == ("CCO", "c1ccccc1")
    assert [(line, text) for line, text, _ in found.refused] == [(6, "c1cccc1")]


def test_a_table_with_quoted_line_breaks(tmp_path):
    path = tmp_path / "250k.csv.gz"
    path.write_bytes(gzip.compress(b'SMILES,logP\n"CCO\n",0.1\n"N#N\n",2\n,5\n,\n'))
    found = smiles_file.read(path)
    assert found.smiles == ("CCO", "N#N")
    assert len(found.refused) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"mol,x\nC,1\n", "has the columns mol, x; expected one named smiles"),
        ("a.csv", b"", "has the columns none"),
        ("a.smi", b"\n", "has no molecule"),
        ("a.smi", b"what is this\n", "has no molecule; line 1"),
        ("a.smi", b"\xff\xfe", "cannot be read"),
        ("a.smi.gz", b"CCO", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_molecules(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=message):
        smiles_file.read(tmp_path / name)


@given(st.binary(max_size=200), st.sampled_from(["x.smi", "x.csv", "x.smi.gz", "x.tsv"]))
@settings(max_examples=60)
def test_any_file_is_read_or_explained(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with suppress(StudyError):
        assert smiles_file.read(path).smiles
