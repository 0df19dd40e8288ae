"""What every program is asked, and how a drive tells what came of it. The drives run in environments of their own: this
file needs nothing but Python."""

import asyncio
import inspect
import json
import sys
import traceback
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

GREET = "Say hello to the test."
GREETING = "Hello, test: 1 + 1 = 2."
COMPARE = "How much warmer is it in Rome than in Paris?"
COMPARED = "Rome is 6 degrees warmer."
WEATHER = {"Paris": 18, "Rome": 24}
CALLED = [["weather", {"city": "Paris"}], ["weather", {"city": "Rome"}], ["subtract", {"a": 24, "b": 18}]]
ANNA = {"name": "Anna", "age": 31}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ABOUT_ANNA = (
    "Read: This is Anna. Age 31.\nPut it into JSON of this schema: "
    '{"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}'
)
LOOK_UP_ANNA = "Look up how old Anna is, and put her into JSON."
SEEN = "What is in the picture?"
COUNT = "Count as far as you can."
FAR = "A word and another. " * 6000
PICTURE = Path(__file__).parents[3] / "docs" / "red_circle.png"


def picture() -> str:
    """The picture of a red circle in Base64."""
    return b64encode(PICTURE.read_bytes()).decode()


def tell(cases: dict[str, Callable[[], Any]]) -> None:
    """Prints what each case returns as one JSON object; of one that raised, the kind and the words of the error."""
    told: dict[str, Any] = {}
    for name, case in cases.items():
        try:
            result = case()
            told[name] = asyncio.run(result) if inspect.isawaitable(result) else result
        except Exception as error:
            traceback.print_exc()
            told[name] = {"raised": type(error).__name__, "words": str(error)}
    print(json.dumps(told), file=sys.stdout)
