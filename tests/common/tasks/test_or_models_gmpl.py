import math
from pathlib import Path

import pytest

from common.tasks.or_models import gmpl
from common.tasks.or_models.gmpl import compare, description, models, reported_optimum, unavailable

real = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "available")
needs_glpsol = pytest.mark.skipif(bool(unavailable(Path("/"))), reason=unavailable(Path("/")) or "available")


def model(folder, text):
    path = folder / "small.mod"
    path.write_text(text)
    return path


def test_one_line_says_what_is_missing(tmp_path, monkeypatch):
    assert "apt-get install glpk-utils" in unavailable(tmp_path / "nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "\n" not in unavailable(tmp_path)
    assert models(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "/* DIET, the Diet Problem */\n/* by N.N. */\nset F;\n/* not this */",
            "DIET, the Diet Problem by N.N.",
        ),
        ("# Towns\n# =====\n# and roads\n\nset T; # not this\n", "Towns and roads"),
        ("set T;\n# not this\n", ""),
        ("", ""),
    ],
)
def test_description(tmp_path, text, words):
    assert description(model(tmp_path, text)) == words


@pytest.mark.parametrize(
    ("report", "value"),
    [
        ("c Rows: 4\ns bas 4 3 f f 12.5\ni 1 b\n", 12.5),
        ("s mip 4 3 o -7\n", -7),
        ("s mip 4 3 f -7\n", math.nan),
        ("s mip 4 3 n 0\n", math.nan),
        ("s bas 4 3 n i 0\n", math.nan),
        ("", math.nan),
    ],
)
def test_reported_optimum(report, value):
    assert reported_optimum(report) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "agreement", "value"),
    [
        (
            "var x >= 0, <= 4; var y integer >= 0; maximize z: 3*x + 2*y + 5; s.t. r: x + 2*y <= 9; end;",
            "agree",
            21,
        ),
        ("var x >= 0, <= 4; minimize z: 7; s.t. r: x >= 1; end;", "constant", None),
        ("var x >= 0, <= 4; s.t. r: x >= 1; end;", "constant", None),
        ("var x >= 0; maximize z: x; end;", "not optimal", None),
        ("var x >= 0; minimize z: x; s.t. r: x <= -1; end;", "not optimal", None),
        ("this is no model", "not read", None),
    ],
)
@needs_glpsol
def test_small_models(tmp_path, text, agreement, value):
    result = compare(model(tmp_path, text))
    assert result.agreement == agreement
    if value is not None:
        assert (result.glpk, result.highs) == (pytest.approx(value), pytest.approx(value))


@real
@pytest.mark.parametrize("name", ["diet", "transp", "assign", "dist", "egypt"])
def test_real_models(name):
    path = next(path for path in models() if path.stem == name)
    assert len(description(path)) > 20
    assert compare(path).agreement == "agree"


@real
def test_all_models_are_found():
    assert len(models()) == len({path.stem for path in models()}) >= 60
    assert all(path.is_relative_to(gmpl.EXAMPLES) for path in models())
