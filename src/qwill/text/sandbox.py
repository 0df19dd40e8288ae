"""The Jinja environment in which released chat templates run: their helpers, no way out, and an end to every loop.

Options and helpers are those that released templates are written against: trimmed blocks, loop controls, the
`generation` tag, `tojson` that keeps characters as they are, `raise_exception`, `strftime_now`.
"""

import datetime
import json
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A conversation of ten thousand messages takes the released template well under a million steps. A call costs as much
# time as many look-ups.
MAX_STEPS = 3_000_000
_STEPS_PER_CALL = 10
MAX_CHARACTERS = 256_000_000


class _Spent:
    """What one rendering has used up so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.characters = 0


_spent: ContextVar[_Spent] = ContextVar("spent")


def _charge(steps: int = 1, characters: int = 0) -> None:
    spent = _spent.get()
    spent.steps += steps
    spent.characters += characters
    if spent.steps > MAX_STEPS or spent.characters > MAX_CHARACTERS:
        raise jinja2.TemplateRuntimeError("it loops without end or writes without measure")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks the answer for training, as a plain block."""

    tags = {"generation"}  # noqa: RUF012  (declared so by jinja2)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _ChargedConcatenation(CodeGenerator):
    """Compiles `a ~ b` into a call of the environment, so that doubling a string over and over is charged too."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802  (named by jinja2)
        self.write("environment.concat(str(piece) for piece in (")
        for operand in node.nodes:
            self.visit(operand, frame)
            self.write(", ")
        self.write("))")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, with every call, look-up, product and sum charged to a budget."""

    code_generator_class = _ChargedConcatenation
    intercepted_binops = frozenset({"+", "*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, "jinja2.ext.loopcontrols"])
        self.filters["tojson"] = _tojson
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now, range=_range)

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        _charge(_STEPS_PER_CALL)
        return super().call(context, function, *args, **kwargs)

    def getattr(self, value: Any, attribute: str) -> Any:
        _charge()
        return super().getattr(value, attribute)

    def getitem(self, value: Any, argument: Any) -> Any:
        _charge()
        return super().getitem(value, argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            _charge(characters=len(left) + len(right) if isinstance(left, str) and isinstance(right, str) else 0)
        elif operator == "*":
            _charge(characters=_product_size(left, right))
        elif isinstance(right, int) and abs(right) > 64:
            raise jinja2.TemplateRuntimeError("it raises a number to an enormous power")
        return super().call_binop(context, operator, left, right)

    def concat(self, pieces: Iterable[str]) -> str:
        """Join the output of a block, macro or whole template."""
        text = "".join(pieces)
        _charge(characters=len(text))
        return text


def render(template: jinja2.Template, variables: dict[str, Any]) -> str:
    """Render within the budget. Raises what the template raises."""
    token = _spent.set(_Spent())
    try:
        return template.render(variables)
    finally:
        _spent.reset(token)


def _product_size(left: Any, right: Any) -> int:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            return len(sequence) * max(count, 0)
    return 0


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    _charge(steps=len(numbers))
    return numbers


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
