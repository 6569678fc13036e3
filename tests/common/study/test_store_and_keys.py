import numpy as np
import pytest

from common.study import keys
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
    for name, text in {
        "common/__init__.py": "",
        "common/study/__init__.py": "",
        "common/study/engine.py": "x = 1",
        "common/helper.py": "def half(x):\n    '''Doc.'''\n    return x / 2\n",
        "papers/__init__.py": "",
        "papers/entry.py": ENTRY,
        "papers/other.py": "y = 1",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(keys, "ROOT", root)

    def digest(**changes):
        for name, text in changes.items():
            (root / (name.replace("__", "/") + ".py")).write_text(text)
        keys.source_hash.cache_clear()
        return keys.source_hash("papers.entry")

    yield digest
    keys.source_hash.cache_clear()


def test_the_source_hash_follows_meaning_and_ignores_comments_and_the_engine(package):
    base = package()
    assert package(common__helper="def half(x):\n    '''Other words.'''  # why\n    return (x / 2)\n") == base
    assert package(common__study__engine="x = 2", papers__other="y = 2") == base
    assert package(common__helper="def half(x):\n    return x / 3\n") != base


def test_reachable_modules_include_imports_inside_functions(package):
    assert keys.reachable("papers.entry") == {"papers.entry", "papers", "common", "common.helper"}


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
