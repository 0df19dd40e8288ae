"""qwill runs Qwen 3.5 on the hardware you have."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwill.answer import Completion
    from qwill.engine.sampling_params import SamplingParams
    from qwill.llm import LLM

__all__ = ["LLM", "Completion", "SamplingParams"]
__version__ = "0.1.0"

_HOMES = {"LLM": "qwill.llm", "SamplingParams": "qwill.engine.sampling_params", "Completion": "qwill.answer"}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are first used, so that `import qwill` itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qwill' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
