"""What ``method.ipynb`` shows: an episode in the sandbox, its verdict, and what replay does to groups."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display

from common.plotting.style import HUES, label, legend, panels, png
from common.tasks.travel import CALL, PARTS, Plan, Query
from common.tasks.travel.sandbox import CachedTools, TravelSandbox, schedule
from common.tasks.travel.transcript import transcript
from common.tasks.travel.worlds import Day, DrawnFlights, oracle
from papers.deeptravel.method import HierarchicalReward, density, informative, replayed_density

QUERY = Query(world=0, origin="ATL", destination="BOS", sights=2, cap=4)
GRID = np.linspace(0.0, 1.0, 1001)[1:-1]


def itinerary() -> Plan:
    """The oracle's."""
    plan = oracle(QUERY, Day(QUERY.world, DrawnFlights()), np.random.default_rng(0))
    assert plan is not None
    return plan


def episode(plan: Plan, asked: int = 4) -> tuple[list[str], pd.Series]:
    """Ask the first `asked` calls and answer with a plan: the transcript, and the complete verdict."""
    env = TravelSandbox([QUERY], CachedTools(schedule(DrawnFlights())), HierarchicalReward(early_exit=False))
    words, _ = env.reset(seed=0)
    written = words.split()
    for call in QUERY.calls[:asked]:
        action = " ".join([*call, CALL])
        written += [*action.split(), *env.step(action)[0].split()]
    *_, info = env.step(" ".join(plan.words))
    verdict = info["verdict"]
    numbers = {
        "R_traj": verdict.trajectory,
        **dict(zip(PARTS, verdict.turns, strict=True)),
        "r": verdict.reward,
    }
    return transcript([*written, *plan.words]), pd.Series(numbers).astype(int)


def picture(mean: float = 0.5, share: float = 0.25, concentration: float = 2.0) -> Image:
    """The stream's pass rates, those of the replays, and the share of groups that teach something."""
    figure, axes = panels(2, width=4.0)
    stream = density([(1.0, concentration * mean, concentration * (1 - mean))], GRID)
    again = replayed_density(GRID, stream)
    for law, name, hue in ((stream, "stream", "blue"), (again, "replays", "orange")):
        axes[0].plot(GRID, np.cumsum(law), color=HUES[hue], label=name)
    label(axes[0], x="pass rate p", y="share of queries below p")
    fresh, replayed = (float(law @ informative(GRID)) for law in (stream, again))
    axes[1].plot([0, 1], [fresh, replayed], color=HUES["green"])
    axes[1].plot([share], [(1 - share) * fresh + share * replayed], "o", color="0.2")
    axes[1].set_ylim(0, 1)
    label(axes[1], x="share of replays", y="groups that teach")
    legend(figure)
    return Image(data=png(figure), alt="Pass rates of stream and replays, and informative groups")


def slider() -> None:
    """The picture for any stream."""
    mean = ipywidgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="mean p")
    share = ipywidgets.FloatSlider(0.25, min=0.0, max=1.0, step=0.05, description="replays")
    output = ipywidgets.interactive_output(
        lambda **chosen: display(picture(**chosen)), {"mean": mean, "share": share}
    )
    display(ipywidgets.VBox([mean, share, output]))
