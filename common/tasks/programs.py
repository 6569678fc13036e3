"""Small functions described in words and written as tokenised Python, with a verifier that runs them.

Two chains of operations act on two arguments; the result joins them. Statements of the two chains come in any
order, temporaries have any name, and most operations can be written in two ways. What a model writes is
never executed: a whitelist of syntax is interpreted, with bounded loops and numbers.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.tasks.dialogue import words

NL, INDENT, DEDENT = "nl", "indent", "dedent"
FUNCTIONS = ("scale", "shift", "mix", "fold", "merge")
ARGUMENTS = ("x", "y", "z", "n", "m", "k")
TEMPORARIES = ("t", "u", "v", "w", "r", "s")
SIGNS = {"plus": "+", "minus": "-", "times": "*"}
SIMPLE = ("add", "subtract", "double")
COMPOUND = ("cap", "repeat")
HIGHEST_OPERAND, MOST_ROUNDS = 9, 5
INPUTS = ((0, 0), (1, 2), (3, 5), (7, 4), (12, 9))
VOCABULARY = (
    *FUNCTIONS,
    *ARGUMENTS,
    *TEMPORARIES,
    *SIMPLE,
    *COMPOUND,
    *words("write of : ; then return plus minus times def ( ) , = + - * += -= > if for i in range"),
    NL,
    INDENT,
    DEDENT,
    *map(str, range(HIGHEST_OPERAND + 1)),
)
_LIMIT = 10**6
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_COMPARE = {ast.Gt: operator.gt, ast.Lt: operator.lt}


@dataclass(frozen=True)
class Step:
    """One operation of a chain: ``add 3``, ``subtract 2``, ``double``, ``cap 9``, ``repeat 3 add 2``."""

    kind: str
    amount: int = 0
    rounds: int = 0

    @property
    def words(self) -> str:
        """As the prompt says it."""
        told = {"double": "double", "repeat": f"repeat {self.rounds} add {self.amount}"}
        return told.get(self.kind, f"{self.kind} {self.amount}")

    def apply(self, value: int) -> int:
        """What it does to a value."""
        match self.kind:
            case "add":
                return value + self.amount
            case "subtract":
                return value - self.amount
            case "double":
                return 2 * value
            case "cap":
                return min(value, self.amount)
        return value + self.rounds * self.amount

    def written(self, target: str, source: str, second: bool) -> str:
        """One of two ways to write it, from variable `source` to `target`."""
        signs = {"add": "+", "subtract": "-"}
        if self.kind in signs:
            if second and source == target:
                return f"{target} {signs[self.kind]}= {self.amount} {NL}"
            return f"{target} = {source} {signs[self.kind]} {self.amount} {NL}"
        if self.kind == "double":
            return f"{target} = {source} {f'+ {source}' if second else '* 2'} {NL}"
        inner = f"{target} += {self.amount} {NL}" if second else f"{target} = {target} + {self.amount} {NL}"
        if self.kind == "cap":
            test, inner = f"if {target} > {self.amount}", f"{target} = {self.amount} {NL}"
        else:
            test = f"for i in range ( {self.rounds} )"
        return f"{test} : {NL} {INDENT} {inner} {DEDENT}"


@dataclass(frozen=True)
class Program:
    """A function of two arguments: a chain of steps on each, and the operator that joins them."""

    name: str
    arguments: tuple[str, str]
    chains: tuple[tuple[Step, ...], tuple[Step, ...]]
    join: str

    @property
    def key(self) -> str:
        """Description without the names, which decides the split."""
        return " ; ".join(
            [*(" then ".join(step.words for step in chain) for chain in self.chains), self.join]
        )

    @property
    def question(self) -> str:
        """The description in words."""
        first, second = self.arguments
        told = [
            f"{argument} {' then '.join(step.words for step in chain)} ;"
            for argument, chain in zip(self.arguments, self.chains, strict=True)
        ]
        return f"write {self.name} of {first} {second} : {' '.join(told)} return {first} {self.join} {second}"

    def expected(self, inputs: tuple[int, int]) -> int:
        """What the function returns."""
        left, right = inputs
        for step in self.chains[0]:
            left = step.apply(left)
        for step in self.chains[1]:
            right = step.apply(right)
        return {"plus": left + right, "minus": left - right, "times": left * right}[self.join]

    def written(self, rng: np.random.Generator, paraphrases: tuple[float, ...]) -> str:
        """Tokenised Python: drawn order, temporaries and wordings."""
        first, second = self.arguments
        names = [TEMPORARIES[place] for place in rng.permutation(len(TEMPORARIES))[:2]]
        short = paraphrases[0] / (paraphrases[0] + paraphrases[1])
        order = rng.permutation([0] * len(self.chains[0]) + [1] * len(self.chains[1]))
        done, body = [0, 0], []
        for chain in order:
            step = self.chains[chain][done[chain]]
            source = names[chain] if done[chain] else self.arguments[chain]
            body.append(step.written(names[chain], source, bool(rng.random() >= short)))
            done[chain] += 1
        result = f"return {names[0]} {SIGNS[self.join]} {names[1]}"
        return (
            f"def {self.name} ( {first} , {second} ) : {NL} {INDENT} {' '.join(body)} {result} {NL} {DEDENT}"
        )

    def correct(self, answer: Sequence[str]) -> bool:
        """True iff the tokens are a function that returns the right value on five inputs."""
        try:
            function = parse(answer)
            return all(run(function, inputs) == self.expected(inputs) for inputs in INPUTS)
        except ProgramError:
            return False


class ProgramError(ValueError):
    """Tokens that are no program of this little language, or one that goes out of bounds."""


def detokenise(tokens: Sequence[str]) -> str:
    """Python source of a token sequence."""
    lines: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        if token in (INDENT, DEDENT):
            depth += 1 if token == INDENT else -1
        elif token == NL:
            lines.append([])
        else:
            lines[-1] += [token] if lines[-1] else ["    " * max(depth, 0) + token]
    return "\n".join(" ".join(line) for line in lines)


def parse(tokens: Sequence[str]) -> ast.FunctionDef:
    """The one function that the tokens define.

    Raises:
        ProgramError: they do not.
    """
    try:
        body = ast.parse(detokenise(tokens)).body
    except (SyntaxError, ValueError) as error:
        raise ProgramError(f"not Python: {error}") from error
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        raise ProgramError("expected one function definition and nothing else")
    return body[0]


def run(function: ast.FunctionDef, inputs: Sequence[int]) -> int:
    """Value of a function, interpreted.

    Raises:
        ProgramError: other syntax than assignment, `if`, `for … in range(constant)`, `return`, `+ - *`; an
            unknown name; a loop or a number out of bounds; no value; another number of arguments.
    """
    names = [argument.arg for argument in function.args.args]
    if len(names) != len(inputs):
        raise ProgramError(f"{len(names)} arguments; expected {len(inputs)}")
    result = _block(function.body, dict(zip(names, inputs, strict=True)))
    if result is None:
        raise ProgramError("the function returns nothing")
    return result


def _block(body: Sequence[ast.stmt], scope: dict[str, int]) -> int | None:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                scope[name] = _value(value, scope)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                scope[name] = _value(ast.BinOp(ast.Name(name), op, value), scope)
            case ast.If(test=test, body=inner, orelse=[]):
                result = _block(inner, scope) if _value(test, scope) else None
                if result is not None:
                    return result
            case ast.For(target=ast.Name(id=name), iter=iterator, body=inner, orelse=[]):
                for index in range(_rounds(iterator)):
                    scope[name] = index
                    result = _block(inner, scope)
                    if result is not None:
                        return result
            case ast.Return(value=ast.expr() as value):
                return _value(value, scope)
            case _:
                raise ProgramError(f"{type(statement).__name__} is not part of the language")
    return None


def _rounds(iterator: ast.expr) -> int:
    match iterator:
        case ast.Call(func=ast.Name(id="range"), args=[ast.Constant(value=int(count))], keywords=[]):
            if count <= HIGHEST_OPERAND:
                return count
    raise ProgramError(f"a loop runs over range(n), n ≤ {HIGHEST_OPERAND}")


def _value(expression: ast.expr, scope: Mapping[str, int]) -> int:
    match expression:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name) if name in scope:
            return scope[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            value = _BINARY[type(op)](_value(left, scope), _value(right, scope))
            if abs(value) > _LIMIT:
                raise ProgramError(f"a number beyond {_LIMIT}")
            return value
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return int(_COMPARE[type(op)](_value(left, scope), _value(right, scope)))
    raise ProgramError(f"{ast.dump(expression)} is not part of the language")


def draw(rng: np.random.Generator) -> Program:
    """A program whose two chains have one or two steps each."""
    places = rng.permutation(len(ARGUMENTS))[:2]
    return Program(
        FUNCTIONS[rng.integers(len(FUNCTIONS))],
        (ARGUMENTS[places[0]], ARGUMENTS[places[1]]),
        (_chain(rng), _chain(rng)),
        list(SIGNS)[rng.integers(len(SIGNS))],
    )


def _chain(rng: np.random.Generator) -> tuple[Step, ...]:
    kinds = [SIMPLE[rng.integers(len(SIMPLE))]]
    if rng.random() < 0.6:
        kinds.append((*SIMPLE, *COMPOUND)[rng.integers(5)])
    return tuple(
        Step(kind, int(rng.integers(1, HIGHEST_OPERAND + 1)), int(rng.integers(2, MOST_ROUNDS + 1)))
        for kind in kinds
    )
