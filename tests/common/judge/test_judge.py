"""Critics, the pool of praise, the cache and the API critic."""

import json
from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.judge.api import APICritic, CriticUnavailableError, read_critique
from common.judge.cache import CachedCritic, critique_key
from common.judge.critic import NO_FEEDBACK, Critique, completion_text, score_reward
from common.judge.pool import FeedbackPool
from common.judge.template import TemplateCritic

WORDS = {"right": (("right", "correct"), ("wrong", "false")), "short": (("short",), ("long", "wordy"))}


class Length(TemplateCritic):
    """Right if the response is the reference; short below four letters."""

    def attributes(self, question, response, reference):
        return {"right": response == reference, "short": len(response) < 4}

    def score(self, attributes: Mapping[str, bool]) -> float:
        return 9 * attributes["right"] + attributes["short"]

    def user(self, attributes, rng):
        return "nice" if attributes["right"] else "hm"


def critique(score: float, summary: str = "good", user: str = "fine") -> Critique:
    return Critique(user=user, analysis="", summary=summary, score=score)


@given(st.text(max_size=5), st.integers(0, 5))
def test_every_clause_says_what_holds_and_nothing_else(response, seed):
    critic = Length(WORDS, seed, {"short": 0.5})
    words = critic("q", response, "7").summary.split()
    found = critic.attributes("q", response, "7")
    allowed = {name: WORDS[name][0 if holds else 1] for name, holds in found.items()}
    assert [word for word in words if word in allowed["right"]]
    assert len(words) <= 2
    assert set(words) <= {*allowed["right"], *allowed["short"]}


def test_a_critique_depends_on_seed_question_and_response_only():
    first, second = Length(WORDS, 0), Length(WORDS, 0)
    second("another", "question", "first")
    assert first("q", "7", "7") == second("q", "7", "7")
    assert len({Length(WORDS, seed)("q", "7", "7").summary for seed in range(40)}) == 4  # synonyms and orders


def test_clauses_are_left_out_at_their_rate_and_never_when_complete():
    critic, rng = Length(WORDS, 0, {"short": 0.3}), np.random.default_rng(0)
    found = {"right": True, "short": True}
    shares = np.mean(["short" in critic.summary(found, rng) for _ in range(4000)])
    assert shares == pytest.approx(0.3, abs=0.03)
    assert all(len(critic.summary(found, rng, complete=True).split()) == 2 for _ in range(50))
    assert critic.summary({"short": False}, rng, complete=True) in WORDS["short"][1]


def test_a_lexicon_must_not_be_ambiguous_and_shares_are_probabilities():
    with pytest.raises(ValueError, match="right"):
        Length({"right": (("right",), ("right",))}, 0)
    with pytest.raises(ValueError, match="probabilities"):
        Length(WORDS, 0, {"short": 1.5})


def test_the_pool_takes_high_scores_and_leaves_excluded_words_out():
    pool = FeedbackPool([critique(9, "very Short"), critique(10), critique(8, "bad")], 9, {"short"})
    assert pool.texts == ["good"]
    assert pool.draw(np.random.default_rng(0), 3) == ["good"] * 3
    assert FeedbackPool([critique(9)], part="user").texts == ["fine"]


@pytest.mark.parametrize(
    "text",
    ["short.", "It is (short)!", "_short_, but right", "short-winded", "*Short*", "short's", "a\nshort\n"],
)
def test_an_excluded_word_is_found_beside_punctuation(text):
    pool = FeedbackPool([critique(9, text), critique(9, "shorten, shortest, ashort")], exclude={"SHORT"})
    assert pool.texts == ["shorten, shortest, ashort"]


def test_an_excluded_word_is_text_and_may_be_a_phrase():
    pool = FeedbackPool(
        [critique(9, "too long."), critique(9, "axb"), critique(9, "a.b")], exclude={"too long", "a.b"}
    )
    assert pool.texts == ["axb"]
    assert FeedbackPool([critique(9)], exclude={""}).texts == ["good"]


def test_an_empty_pool_is_an_error():
    with pytest.raises(ValueError, match="no critique scores 9"):
        FeedbackPool([critique(8), critique(10, "")])


def test_draws_follow_the_frequency_of_a_text():
    pool = FeedbackPool([critique(9, "a")] * 3 + [critique(9, "b")])
    drawn = pool.draw(np.random.default_rng(0), 4000)
    assert drawn.count("a") / 4000 == pytest.approx(0.75, abs=0.03)


def test_the_reward_is_the_score_over_ten():
    reward = score_reward(Length(WORDS, 0))
    messages = [[{"role": "assistant", "content": "7"}], [{"role": "assistant", "content": "8888"}]]
    assert reward(completions=["7", "8888"], question=["q"] * 2, reference=["7"] * 2, other=1) == [1.0, 0.0]
    assert reward(completions=messages, question=["q"] * 2, reference=["7"] * 2) == [1.0, 0.0]
    assert completion_text("7") == completion_text(messages[0]) == "7"


def test_the_cache_asks_once_and_survives_a_cut_off_line(tmp_path):
    path = tmp_path / "folder" / "critiques.jsonl"
    first = CachedCritic(Length(WORDS, 0), path)
    answers = [first("q", text, "7") for text in ("7", "8", "7")]
    assert (first.asked, answers[0]) == (2, answers[2])
    path.write_text(path.read_text()[:-20])
    again = CachedCritic(Length(WORDS, 0), path)
    assert [again("q", text, "7") for text in ("7", "8")] == answers[:2]
    assert again.asked == 1
    third = CachedCritic(Length(WORDS, 1), path)
    assert [third("q", text, "7") for text in ("7", "8")] == answers[:2]
    assert third.asked == 0


def test_a_separator_inside_a_text_does_not_cut_its_line(tmp_path):
    path, text = tmp_path / "critiques.jsonl", "one\u2028two\u2029three\x85four"
    entry = {"user": text, "analysis": "", "summary": text, "score": 9}
    line = {"key": critique_key("q", "r"), **entry}
    path.write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    cached = CachedCritic(lambda *_: NO_FEEDBACK, path)
    assert cached("q", "r", "7") == Critique(**entry)
    assert cached.asked == 0


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_keys_tell_pairs_apart(left, right):
    assert (critique_key(*left) == critique_key(*right)) == (left == right)


def test_a_failure_is_not_kept(tmp_path):
    replies = iter([NO_FEEDBACK, critique(9)])
    cached = CachedCritic(lambda *_: next(replies), tmp_path / "c.jsonl")
    assert cached("q", "r", "7") == NO_FEEDBACK
    assert cached("q", "r", "7") == cached("q", "r", "7") == critique(9)


def endpoint(*replies: str) -> SimpleNamespace:
    """A client that answers with `replies` in turn and keeps what it was asked."""
    waiting, asked = iter(replies), []

    def create(**call):
        asked.append(call)
        reply = next(waiting)
        if reply == "down":
            raise OSError("connection refused")
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=reply))])

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)), asked=asked)


def test_the_api_critic_reads_four_parts_and_turns_failures_into_no_feedback():
    good = json.dumps({"user": "u", "analysis": "a", "summary": "s", "score": 7})
    client = endpoint(f"```json\n{good}\n```", "sorry", "down", '{"user": "u"}')
    critic = APICritic("m", "judge", client=client, reasoning_effort="minimal")
    assert critic("2+2?", "4", "four") == Critique("u", "a", "s", 7.0)
    assert [critic("2+2?", "4", "four") for _ in range(3)] == [NO_FEEDBACK] * 3
    assert critic.failures == 3
    call = client.asked[0]
    assert (call["model"], call["reasoning_effort"]) == ("m", "minimal")
    assert call["messages"][0] == {"role": "system", "content": "judge"}
    assert all(part in call["messages"][1]["content"] for part in ("2+2?", "4", "four"))


@pytest.mark.parametrize("score", [-1, 11])
def test_a_score_outside_the_scale_is_no_critique(score):
    with pytest.raises(ValueError, match="outside"):
        read_critique(json.dumps({"user": "", "analysis": "", "summary": "", "score": score}))


def test_without_package_or_key_the_fix_is_named(monkeypatch):
    monkeypatch.setattr("common.judge.api.find_spec", lambda _: None)
    with pytest.raises(CriticUnavailableError, match="pip install openai"):
        APICritic("m", "judge")
    monkeypatch.setattr("common.judge.api.find_spec", lambda _: object())
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CriticUnavailableError, match="OPENAI_API_KEY"):
        APICritic("m", "judge")
