import os

import numpy as np
import pytest

from common.study import keys, sources
from common.study.errors import StudyError
from common.study.jobs import Job, Record
from common.study.store import Cost, DamagedRecordError, Store

JOB = Job("s", {"arm": "a"}, "papers.toy.experiment:draw", {"steps": 2}, (5, 3))
RECORD = Record({"score": np.array([1.0, 2.0])}, {"path": np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]])})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.write("k", JOB, RECORD, Cost(1.0, 2.0))
    return store


def test_a_record_comes_back_as_it_was_written(store):
    frame = store.read("k")
    assert frame.equals(RECORD.frame(JOB.seeds))
    path = frame[frame["name"] == "path"].pivot(index="seed", columns="step", values="value")
    assert path.loc[3].to_numpy() == pytest.approx([4.0, np.nan, 6.0], nan_ok=True)
    assert frame[frame["name"] == "score"]["step"].isna().all()
    assert store.cost("k") == Cost(1.0, 2.0)


def test_a_supervisor_enters_a_larger_peak_than_the_job_saw_itself(store):
    for peak, entered in ((1.0, 2.0), (5.0, 5.0), (4.0, 5.0)):
        store.raise_peak("k", peak)
        assert store.cost("k") == Cost(1.0, entered)
    store.raise_peak("absent", 9.0)
    assert store.cost("absent") is None
    assert store.read("k").equals(RECORD.frame(JOB.seeds))


def test_a_holder_is_named_while_it_holds_and_forgotten_after(store):
    with store.held("k", os.getpid()):
        assert f"process {os.getpid()} on " in store.holder("k")
        assert not store.was_running("k")
    assert store.holder("k") == f"a process that holds {store.folder('k') / 'lock'}"


@pytest.mark.parametrize("name", ["record.parquet", "complete.json"])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_damage_of_either_file_is_noticed(store, name, content):
    path = store.folder("k") / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(DamagedRecordError):
        store.read("k")


def test_one_flipped_bit_is_noticed_and_named(store):
    path = store.folder("k") / "record.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert store.damaged(["k", "absent"]) == ["k"]


def test_a_record_without_one_row_per_seed_is_refused():
    with pytest.raises(ValueError, match="'score' has shape"):
        Record({"score": np.zeros(3)}).frame((1, 2))
    with pytest.raises(ValueError, match="'path' has shape"):
        Record(series={"path": np.zeros(2)}).frame((1, 2))
    with pytest.raises(ValueError, match="at least one"):
        Record().frame((1,))


ENTRY = """
import common.study.engine

def run(x):
    from common.helper import half

    return half(x)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A repository of three modules: entry imports helper inside a function; other is not reached."""
    root = tmp_path / "root"
    for place in (sources, keys):
        monkeypatch.setattr(place, "ROOT", root)

    def digest(**changes):
        for name, text in changes.items():
            path = root / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        keys.current.cache_clear()
        return keys.source_hash("papers.entry")

    (root / "papers").mkdir(parents=True)
    (root / "papers" / "__init__.py").touch()
    (root / "common" / "study").mkdir(parents=True)
    (root / "common" / "study" / "__init__.py").touch()
    (root / "common" / "__init__.py").touch()
    digest(
        common__study__engine="x = 1",
        common__helper="def half(x):\n    '''Doc.'''\n    return x / 2\n",
        papers__entry=ENTRY,
        papers__other="y = 1",
    )
    yield digest
    keys.current.cache_clear()


def test_the_source_hash_follows_meaning_and_ignores_comments_and_the_engine(package):
    base = package()
    assert package(common__helper="def half(x):\n    '''Other words.'''  # why\n    return (x / 2)\n") == base
    assert package(common__study__engine="x = 2", papers__other="y = 2") == base
    assert package(common__helper="def half(x):\n    return x / 3\n") != base


PARENTS = {"papers", "papers.entry"}
LAZY = """
def __getattr__(name):
    if name == "Trainer":
        from common.lazy.method import Trainer
        return Trainer
"""
STRINGS = """
from importlib import import_module
__all__ = ["T"]
def __getattr__(name):
    return getattr(import_module("common.lazy.method"), name)
"""
ATTACHED = """
import lazy_loader
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"method": ["T"]})
"""
REACHED = {
    "inside a function": (ENTRY, {}, {"common", "common.helper"}),
    "a module beside a data folder": (
        "from common.pocket import load",
        {"common/pocket.py": "", "common/pocket/weights.json": "{}"},
        {"common", "common.pocket"},
    ),
    "a package before a module of its name": (
        "import common.both",
        {"common/both.py": "import common.helper", "common/both/__init__.py": ""},
        {"common", "common.both"},
    ),
    "a folder without code": (
        "import common.space.part",
        {"common/space/part.py": ""},
        {"common", "common.space.part"},
    ),
    "relative": ("from . import other\nfrom .other import y", {}, {"papers.other"}),
    "relative, from a package": (
        "import common.inner.deep",
        {
            "common/inner/__init__.py": "from .eager import x",
            "common/inner/eager.py": "from ..helper import half",
            "common/inner/deep.py": "",
        },
        {"common", "common.inner", "common.inner.eager", "common.inner.deep", "common.helper"},
    ),
    "above the top": ("from ... import helper", {}, set()),
    "by a literal": (
        "import importlib\nimportlib.import_module('common.helper')",
        {},
        {"common", "common.helper"},
    ),
    "by a relative literal": (
        "from importlib import import_module as load\nload('.other', __package__)",
        {},
        {"papers.other"},
    ),
    "by the builtin": ("__import__('common.helper')", {}, {"common", "common.helper"}),
    "by a constant with an attribute": ("METHOD = 'common.helper:half'", {}, {"common", "common.helper"}),
    "a name that starts as the engine's": (
        "import common.study_tools\nimport common.plotting2",
        {"common/study_tools.py": "", "common/plotting2.py": ""},
        {"common", "common.study_tools", "common.plotting2"},
    ),
    "the engine": ("import common.study.engine\nimport common.study", {}, {"common"}),
    "a lazy package's attribute": (
        "from common.lazy import Trainer",
        {"common/lazy/__init__.py": LAZY, "common/lazy/method.py": "import common.helper"},
        {"common", "common.lazy", "common.lazy.method", "common.helper"},
    ),
    "a lazy package's attribute, by a string": (
        "import common.lazy as lazy\nlazy.T",
        {"common/lazy/__init__.py": STRINGS, "common/lazy/method.py": ""},
        {"common", "common.lazy", "common.lazy.method"},
    ),
    "a lazy package's attribute, attached": (
        "from common.lazy import T",
        {"common/lazy/__init__.py": ATTACHED, "common/lazy/method.py": ""},
        {"common", "common.lazy", "common.lazy.method"},
    ),
    "a module of a lazy package": (
        "from common.lazy.theory import f\nfrom common.lazy import theory",
        {"common/lazy/__init__.py": ATTACHED, "common/lazy/method.py": "", "common/lazy/theory.py": ""},
        {"common", "common.lazy", "common.lazy.theory", "common.lazy.method"},
    ),
    "only a module of a lazy package": (
        "from common.lazy.theory import f",
        {"common/lazy/__init__.py": LAZY, "common/lazy/method.py": "", "common/lazy/theory.py": ""},
        {"common", "common.lazy", "common.lazy.theory"},
    ),
    "a circle": (
        "import common.one",
        {"common/one.py": "import common.two", "common/two.py": "import common.one"},
        {"common", "common.one", "common.two"},
    ),
}


@pytest.mark.parametrize("case", REACHED)
def test_a_module_reaches_what_python_would_load(package, case):
    entry, files, expected = REACHED[case]
    for name, text in {**files, "papers/entry.py": entry}.items():
        path = keys.ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    keys.current.cache_clear()
    assert keys.reachable("papers.entry") == PARENTS | expected


def test_a_module_that_is_missing_or_no_python_is_named(package):
    for changes in (
        {"entry": "papers.absent:run"},
        {"entry": "papers.entry:run", "modules": ("papers.absent",)},
    ):
        with pytest.raises(StudyError, match=r"names papers\.absent, which is no module of this repository"):
            keys.job_key(Job(**{**vars(JOB), **changes}))
    with pytest.raises(StudyError, match=r"entry\.py, line 1: invalid syntax"):
        package(papers__entry="x = = 1")


@pytest.mark.parametrize("name", keys.SWITCHES)
def test_a_switch_of_the_numerics_is_part_of_the_environment(monkeypatch, name):
    for other in keys.SWITCHES:
        monkeypatch.delenv(other, raising=False)
    plain = keys.environment()
    monkeypatch.setenv(name, "AVX2")
    assert keys.environment() == {**plain, "switches": {name: "AVX2"}}


def test_the_key_depends_on_everything_that_can_change_numbers(package, monkeypatch, tmp_path):
    def key(**changes):
        return keys.job_key(Job(**{**vars(JOB), "entry": "papers.entry:run", **changes}))

    base = key()
    assert key(labels={"arm": "other"}, sweep="t") == base
    assert key(config={"steps": 3}) != base
    assert key(seeds=(3, 5)) != base
    (keys.ROOT / "weights").write_bytes(b"1")
    first = key(inputs=("weights",))
    (keys.ROOT / "weights").write_bytes(b"2")
    assert len({base, first, key(inputs=("weights",))}) == 3
    named = key(modules=("papers.other",))
    package(papers__other="y = 2")
    assert len({base, named, key(modules=("papers.other",))}) == 3
    assert key() == base
    monkeypatch.setattr(keys, "_versions", lambda: {"torch": "0"})
    assert key() != base


def test_what_jobs_share_is_named_by_recipe_source_and_environment(package, monkeypatch):
    """A trained model outlives the run that made it: nothing else tells a stale one."""
    base = keys.product_name({"steps": 1}, "papers.entry")
    assert keys.product_name({"steps": 2}, "papers.entry") != base
    package(common__helper="def half(x):\n    return x / 3\n")
    edited = keys.product_name({"steps": 1}, "papers.entry")
    monkeypatch.setattr(keys, "_versions", lambda: {"torch": "0"})
    assert len({base, edited, keys.product_name({"steps": 1}, "papers.entry")}) == 3
