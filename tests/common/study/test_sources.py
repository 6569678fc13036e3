"""Hashes of source mean the same under every version of Python."""

import ast

from common.study.sources import syntax


def test_syntax_is_written_as_python_3_11_writes_it():
    """Literally, for what a later version adds or leaves out shows only under that version."""
    arguments = "args=arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])"
    function = f"FunctionDef(name='f', {arguments}, body=[Pass()], decorator_list=[])"
    kind = "ClassDef(name='A', bases=[], keywords=[], body=[Pass()], decorator_list=[])"
    expected = f"Module(body=[{function}, {kind}], type_ignores=[])"
    assert syntax(ast.parse("def f(): pass\nclass A: pass")) == expected


def test_type_parameters_of_python_3_12_leave_no_trace():
    tree = ast.parse("def f(): pass\nasync def g(): pass\nclass A: pass")
    before = syntax(tree)
    for node in tree.body:
        if "type_params" not in node._fields:
            later = type(type(node).__name__, (type(node),), {"_fields": (*node._fields, "type_params")})
            node.__class__ = later
        node.type_params = []
    assert "type_params" in ast.dump(tree)
    assert syntax(tree) == before
