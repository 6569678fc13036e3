"""Everything that the card asks for by id: tables, figures with `plot_<id>`, tested claims.

Each function maps the frame of records (columns sweep, labels, seed, name, step, value) to a frame or to the
numbers that decide a claim.
"""

from papers.fastgrpo.audits import *  # noqa: F403
from papers.fastgrpo.claims import *  # noqa: F403
from papers.fastgrpo.figures import *  # noqa: F403
from papers.fastgrpo.plots import *  # noqa: F403
from papers.fastgrpo.tables import *  # noqa: F403
