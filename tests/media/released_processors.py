"""What the released processors do, from the installed transformers."""

import ast
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def video_functions() -> SimpleNamespace:
    """`smart_resize` and `sample_frames` of the Qwen3-VL video processor.

    Its module cannot be imported without torchvision, so the two functions are compiled from its source.
    """
    package = importlib.util.find_spec("transformers")
    assert package is not None and package.origin is not None  # noqa: PT018
    path = Path(package.origin).parent / "models/qwen3_vl/video_processing_qwen3_vl.py"
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    functions: dict[str, Callable[..., Any]] = {}
    for name in ("smart_resize", "sample_frames"):
        node = next(node for node in nodes if node.name == name)
        node.decorator_list = []
        scope: dict[str, Any] = {"math": math, "np": np, "logger": SimpleNamespace(warning_once=lambda _: None)}
        future = ast.parse("from __future__ import annotations").body
        exec(compile(ast.Module([*future, node], []), str(path), "exec"), scope)
        functions[name] = scope[name]
    return SimpleNamespace(**functions)


def image_processor(min_pixels: int, max_pixels: int) -> Any:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": min_pixels, "longest_edge": max_pixels},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
