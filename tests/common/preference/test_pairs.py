"""Which of two responses is preferred, and by how much."""

from hypothesis import given
from hypothesis import strategies as st

from common.preference.pairs import Pair, Score, build_pairs, prefer

SCORES = st.lists(
    st.builds(Score, st.booleans(), st.none() | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), max_size=6
)


def test_the_right_outcome_wins_whatever_the_process():
    assert prefer([Score(False, 1.0), Score(True, 0.0)], 0, 1) == Pair(1, 0, 1.0)


def test_the_process_breaks_ties_of_right_and_of_wrong_outcomes():
    for outcome in (True, False):
        assert prefer([Score(outcome, 0.25), Score(outcome, 1.0)], 0, 1) == Pair(1, 0, 0.75)


def test_without_a_difference_or_a_verdict_nobody_wins():
    for one, other in ((0.5, 0.5), (None, 1.0), (0.5, None), (None, None)):
        assert prefer([Score(True, one), Score(True, other)], 0, 1) is None


@given(SCORES)
def test_pairs_are_heaviest_first_and_a_cap_keeps_the_heaviest(scores):
    every = build_pairs(scores)
    assert [pair.weight for pair in every] == sorted((pair.weight for pair in every), reverse=True)
    assert build_pairs(scores, most=4) == every[:4]
    assert all(0 < pair.weight <= 1 for pair in every)


@given(SCORES)
def test_the_order_of_the_responses_decides_nothing(scores):
    def named(rows):
        return {(id(rows[pair.chosen]), id(rows[pair.rejected]), pair.weight) for pair in build_pairs(rows)}

    own = [Score(score.outcome, score.process) for score in scores]
    assert named(own) == named(own[::-1])


@given(SCORES)
def test_by_outcome_alone_every_pair_is_right_against_wrong(scores):
    pairs = build_pairs(scores, by_process=False)
    assert all(scores[pair.chosen].outcome > scores[pair.rejected].outcome for pair in pairs)
    right = sum(score.outcome for score in scores)
    assert len(pairs) == right * (len(scores) - right)
