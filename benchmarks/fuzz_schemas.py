"""Random JSON schemas, made into grammars and walked at random, in processes of their own.

    PYTHONPATH=. python benchmarks/fuzz_schemas.py [--cases 20000] [--seed N] [--only NUMBER]

A schema has keywords of all drafts in any combination: some hold, some cannot be held to, some contradict each other.
Its grammar must come, or a refusal in words, within seconds; what a walk writes must be JSON that fits the simple form
of the schema, and the schema itself where nothing was left out; calls of a tool with the schema as its parameters must
come, too. Ends with an error, which names seed and number of the case, when one does not hold or when the process dies.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jsonschema
import numpy as np
from referencing.exceptions import Unresolvable

SECONDS = 20.0  # for one case
START_SECONDS = 60.0
STEPS = 160  # tokens of a walk
VALUES = 8  # that are tried beside a walk
TOGETHER = 500  # cases a process
NAMES = ["a", "b", "city name", "длина", "$id", "x-y", "a.b", "", '"', "type", "required", "0"]
TEXTS = ["", "a", "ab", 'say "x"\n', "日本", "</parameter>", "true", "7", "\\", "é"]
WHOLE = [0, 1, -1, 2, 7, 10, 99, 100, -250, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**64 - 1,
         1234567890123456789, 10**30 + 7, -(10**22) - 3]  # fmt: skip
BROKEN = [0.5, -0.25, 1.5, 0.1, 12.75, 1e22, 2.5e-7, 0.12345678901234568, -99.9]
PATTERNS = [
    "^a+$",
    "b",
    "[0-9]{2,4}",
    "^[a-z]{1,3}-[0-9]$",
    "x|y",
    r"^\d+\.\d$",
    "[a-z]",
    "a(?=b)",
    "(",
    r"(a)\1",
    "^$",
]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "email", "uri", "int32", "int64", "binary", "password",
           "uri-template", "regex", "double", "made-up"]  # fmt: skip
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]


class Schemas:
    """Draws schemas. `definitions`: how many there are to refer to."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._definitions = generator.randint(0, 3)

    def whole(self) -> dict[str, Any]:
        schema = self.schema(self._random.randint(1, 4))
        schema = schema if isinstance(schema, dict) else {"allOf": [schema]}
        if self._definitions:
            schema["$defs"] = {f"d{number}": self.schema(2) for number in range(self._definitions)}
        return schema

    def schema(self, depth: int) -> Any:
        choose = self._random
        if choose.random() < 0.04:
            return choose.choice([True, False, {}])
        schema: dict[str, Any] = {}
        if choose.random() < 0.85:
            kind = choose.choice(TYPES if depth > 0 else TYPES[:5])
            schema["type"] = [kind, choose.choice(TYPES[:5])] if choose.random() < 0.15 else kind
            self._describe(schema, kind, depth)
        if choose.random() < 0.12:
            self._describe(schema, choose.choice(TYPES), depth)
        if choose.random() < 0.15:
            key = choose.choice(["enum", "const"])
            schema[key] = self.value(2) if key == "const" else [self.value(2) for _ in range(choose.randint(1, 4))]
        if choose.random() < 0.12 and depth > 0:
            key = choose.choice(["anyOf", "oneOf", "allOf"])
            schema[key] = [self.schema(depth - 1) for _ in range(choose.randint(1, 3))]
        if choose.random() < 0.12:
            places = [f"#/$defs/d{number}" for number in range(self._definitions)]
            schema["$ref"] = choose.choice([*places * 3, "#", "#/properties/a", "#/none", "http://example.org/s"])
        if choose.random() < 0.06:
            schema.update(self._unheld(depth))
        items = list(schema.items())
        choose.shuffle(items)
        return dict(items)

    def number(self) -> float:
        choose = self._random
        if choose.random() < 0.2:
            return choose.randint(-(10 ** choose.randint(1, 40)), 10 ** choose.randint(1, 40))
        return choose.choice(WHOLE) + choose.randint(-3, 3) if choose.random() < 0.7 else choose.choice(BROKEN)

    def value(self, depth: int) -> Any:
        choose = self._random
        kind = choose.randrange(7 if depth else 5)
        if kind < 2:
            return choose.choice([None, True, False, self.number(), self.number()])
        if kind < 5:
            return choose.choice(TEXTS) if choose.random() < 0.6 else self.number()
        if kind == 5:
            return [self.value(depth - 1) for _ in range(choose.randint(0, 3))]
        return {choose.choice(NAMES): self.value(depth - 1) for _ in range(choose.randint(0, 3))}

    def _describe(self, schema: dict[str, Any], kind: str, depth: int) -> None:
        choose = self._random
        some: Callable[[float], bool] = lambda share: choose.random() < share  # noqa: E731
        if kind in ("integer", "number"):
            for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                if some(0.35):
                    wrong = [True, False] if key.startswith("exclusive") else ["3", None]
                    schema[key] = self.number() if some(0.95) else choose.choice(wrong)
            if some(0.15):
                schema["multipleOf"] = choose.choice([1, 2, 3, 7, 10, 0.5, 0.01, 1e-3, 0.3, 2**40, 1000, 10**20, 0, -1])
        elif kind == "string":
            if some(0.3):
                schema["minLength"] = choose.choice([0, 1, 2, 3, 3.0, 10**9, -1])
            if some(0.4):
                schema["maxLength"] = choose.choice([0, 1, 2, 5, 8, 40, 10**12])
            if some(0.3):
                schema["pattern"] = choose.choice(PATTERNS)
            if some(0.2):
                schema["format"] = choose.choice(FORMATS)
        elif kind == "array":
            if some(0.8):
                schema["items"] = self.schema(depth - 1) if some(0.9) else [self.schema(depth - 1)]
            if some(0.2) and not isinstance(schema.get("items"), list):  # which means the same in older drafts
                schema["prefixItems"] = [self.schema(depth - 1) for _ in range(choose.randint(1, 3))]
            if some(0.3):
                schema["minItems"] = choose.randint(0, 3)
            if some(0.6):
                schema["maxItems"] = choose.choice([0, 1, 2, 3, 3, 10**7])
        elif kind == "object":
            names = choose.sample(NAMES, choose.randint(0, 4))
            schema["properties"] = {name: self.schema(depth - 1) for name in names}
            if some(0.6):
                schema["required"] = choose.sample(names, choose.randint(0, len(names)))
                schema["required"] += choose.sample(NAMES, 1) if some(0.15) else []
            if some(0.7):
                schema["additionalProperties"] = False if some(0.8) else self.schema(depth - 1)
            if some(0.12):
                schema["patternProperties"] = {choose.choice(PATTERNS): self.schema(depth - 1) for _ in range(2)}
            for key in ("minProperties", "maxProperties"):
                if some(0.12):
                    schema[key] = choose.randint(0, 4)

    def _unheld(self, depth: int) -> dict[str, Any]:
        choose = self._random
        inner = self.schema(max(depth - 1, 0))
        return choose.choice([
            {"not": inner}, {"uniqueItems": True}, {"uniqueItems": False}, {"propertyNames": {"pattern": "^a"}},
            {"contains": inner}, {"dependentRequired": {"a": ["b"]}}, {"if": inner, "then": inner}, {"type": "any"},
            {"$dynamicRef": "#x"}, {"unevaluatedProperties": False}, {"properties": 5}, {"enum": "x"}, {"allOf": {}},
            {"required": "a"}, {"items": 3}, {"$anchor": "x"}, {"nullable": False}, {"minLength": "2"},
        ])  # fmt: skip


def _multiple_of(validator: Any, step: Any, instance: Any, schema: Any) -> Any:
    """Where jsonschema divides doubles."""
    if validator.is_type(instance, "number") and step > 0 and (Fraction(instance) / Fraction(step)).denominator > 1:
        yield jsonschema.ValidationError(f"{instance} is no multiple of {step}")


def _items(validator: Any, items: Any, instance: Any, schema: Any) -> Any:
    """A list of items is that of older drafts."""
    if not isinstance(items, list):
        yield from jsonschema.Draft202012Validator.VALIDATORS["items"](validator, items, instance, schema)
    elif validator.is_type(instance, "array"):
        for item, inner in zip(instance, items, strict=False):
            yield from validator.descend(item, inner)


# What jsonschema raises for what is none; it looks at no schema before it is used.
NO_SCHEMA = (RecursionError, re.error, TypeError, AttributeError, Unresolvable, jsonschema.exceptions.UnknownType)


def _is_whole(checker: Any, instance: Any) -> bool:
    return not isinstance(instance, bool) and isinstance(instance, int | Decimal) and instance % 1 == 0


Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"multipleOf": _multiple_of, "items": _items},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole),
)  # fmt: skip


def check(value: str, schema: Any) -> None:
    """Raises what jsonschema does where a value does not fit. All numbers are taken as they are written."""
    schema = _in_new_words(json.loads(json.dumps(schema), parse_float=Decimal))
    try:
        Validator(schema).validate(json.loads(value, parse_float=Decimal))
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what becomes of a RecursionError in its registry
            raise
        raise RecursionError from None


def _in_new_words(schema: Any) -> Any:
    """With numbers for the truth values that `exclusiveMinimum` and `exclusiveMaximum` had in draft 4."""
    if isinstance(schema, list):
        return [_in_new_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _in_new_words(one) for key, one in schema.items()}
    for end in ("Minimum", "Maximum"):
        stated = found.get(f"exclusive{end}")
        if isinstance(stated, bool):
            del found[f"exclusive{end}"]
            if stated and not isinstance(found.get(end.lower()), bool | None | str):
                found[f"exclusive{end}"] = found[end.lower()]
    return found


class Walker:
    """Makes grammars with the embedded model's tokens and walks them."""

    def __init__(self) -> None:
        from qwill import LLM
        from qwill.engine.structure import GrammarVocabulary

        llm = LLM("demo", max_context=64)
        assert llm.tokenizer is not None
        self.tokenizer = llm.tokenizer
        self.ends = llm._eos_ids
        self.vocabulary = GrammarVocabulary(llm.tokenizer, llm.tokenizer.vocab_size, llm._eos_ids)
        closing = [token for text in '"}],' for token in llm.tokenizer.encode(text)]
        self._closing = np.array(closing, np.int64)

    def case(self, seed: int, number: int) -> str:
        """What came of a case. Raises AssertionError."""
        from qwill.errors import InvalidArgument
        from qwill.text.parsers.qwen_grammar import call_rules
        from qwill.text.router import Router
        from qwill.text.schemas.grammar import json_grammar
        from qwill.text.schemas.sound import sound

        generator = random.Random(f"{seed} {number}")
        schema = Schemas(generator).whole()
        calls = call_rules({"f": schema})
        text = self.walk(generator, {"lark_grammar": "start: calls" + calls.rules}, *calls.grammars)
        if text is not None:
            router = Router(False, [{"name": "f", "parameters": schema}])
            kinds = [delta.kind for delta in [*router.feed(text), *router.finish()]]
            assert "tool_call" in kinds, text
            assert not set(kinds) - {"tool_call", "tool_call_piece"}, text
        try:
            found = sound(schema, "s")
            self._compare(generator, schema, found.schema)
            if found.schema is None:
                return "nothing fits"
            text = self.walk(generator, json_grammar(found.schema))
        except InvalidArgument as error:
            return f"refused: {error}"
        if text is None:
            return "walked"
        check(text, found.schema)
        if found.lost:
            return "fits in part"
        try:
            check(text, schema)
        except NO_SCHEMA:
            return "fits the simple form"
        return "fits"

    def _compare(self, generator: random.Random, schema: Any, simple: Any) -> None:
        """The simple form fits whatever fits the schema, but for formats, which it takes more narrowly."""
        from qwill.text.schemas.values import accepts

        values = Schemas(generator)
        for _ in range(VALUES):
            value = values.value(2)
            try:
                check(json.dumps(value), schema)
            except jsonschema.ValidationError:
                continue
            except NO_SCHEMA:
                return
            definitions = simple.get("$defs", {}) if simple is not None else {}
            fits = simple is not None and accepts(simple, value, definitions)
            assert fits or '"format"' in json.dumps(schema), f"{value!r} fits {schema!r} and not {simple!r}"

    def walk(self, generator: random.Random, *grammars: dict[str, Any]) -> str | None:
        """The text of a random walk, or None when it did not come to an end."""
        constraint = self.vocabulary.constraint("it", *grammars)
        tokens: list[int] = []
        while constraint.ended is None:
            allowed = np.flatnonzero(constraint.allowed)
            done = [token for token in allowed.tolist() if token in self.ends]
            closing = self._closing[constraint.allowed[self._closing]]
            if done and generator.random() < 0.7:
                break
            if len(tokens) == STEPS:
                return None
            kept = closing if len(closing) and generator.random() < 0.4 + len(tokens) / STEPS else allowed
            tokens.append(int(kept[generator.randrange(len(kept))]))
            if tokens[-1] in self.ends:
                tokens.pop()
                break
            constraint.consume(tokens[-1])
        assert constraint.ended != "error", f"it cannot go on behind {self.tokenizer.decode(tokens)!r}"
        return self.tokenizer.decode(tokens, skip_special=False)


def play(seed: int, first: int, last: int) -> None:
    """Cases in this process, told on stdout."""
    walker = Walker()
    for number in range(first, last):
        print(json.dumps([number, "begun"]), flush=True)
        try:
            outcome = walker.case(seed, number)
        except Exception as error:
            outcome = f"FAILED {type(error).__name__}: {error}"[:3000]
        print(json.dumps([number, outcome]), flush=True)


def fuzz(seed: int, cases: int, together: int = TOGETHER) -> Counter[str]:
    """What came of all cases. Raises AssertionError, which names the case that failed."""
    counts: Counter[str] = Counter()
    for first in range(0, cases, together):
        command = [sys.executable, __file__, "--play", str(seed), str(first), str(min(first + together, cases))]
        quiet = os.environ | {"RUST_BACKTRACE": "0"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=quiet) as process:
            assert process.stdout is not None
            number = first
            watch = threading.Timer(START_SECONDS, process.kill)
            try:
                watch.start()
                for line in process.stdout:
                    watch.cancel()
                    number, outcome = json.loads(line)
                    assert not outcome.startswith("FAILED"), f"case {number} of seed {seed}: {outcome}"
                    counts[outcome] += outcome != "begun"
                    watch = threading.Timer(SECONDS, process.kill)
                    watch.start()
            finally:
                watch.cancel()
                process.kill()
        died = f"the process died, or had to, with {process.returncode} in case {number} of seed {seed}"
        assert sum(counts.values()) == min(first + together, cases), died
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--only", type=int, help="one case, in this process")
    parser.add_argument("--play", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play:
        play(*arguments.play)
    elif arguments.only is not None:
        print(json.dumps(Schemas(random.Random(f"{arguments.seed} {arguments.only}")).whole(), ensure_ascii=False))
        print(Walker().case(arguments.seed, arguments.only))
    else:
        for outcome, count in fuzz(arguments.seed, arguments.cases).most_common():
            print(f"{count:6} {outcome}")


if __name__ == "__main__":
    main()
