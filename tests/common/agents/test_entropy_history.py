"""References from past entropies."""

import torch

from common.agents.entropy_history import EntropyHistory


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_history_leaves_the_current_step_out_unless_it_is_asked_for():
    paper, code = EntropyHistory(), EntropyHistory("per_turn", include_current=True)
    assert paper.current(0) is None
    for step, mean in enumerate((1.0, 2.0, 6.0)):
        paper.append(tensor(mean))
        code.append(tensor(mean, mean), horizon=3)
        assert float(paper.at(step, torch.zeros(1, dtype=torch.long)) or 0) == (0.0, 1.0, 1.5)[step]
    assert code.at(2, torch.tensor([0, 1, 5])).tolist() == [0.0, 3.0, 3.0]


def test_a_window_and_a_checkpoint():
    sliding, restored = EntropyHistory(window=1), EntropyHistory(window=1)
    for mean in (1.0, 2.0, 6.0):
        sliding.append(tensor(mean))
    restored.load_state_dict(sliding.state_dict())
    assert float(restored.current(3)) == 6.0
