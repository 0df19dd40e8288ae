"""Pytest plugin: kernels of another system, in a program that is emulated (csrc/program), stand in for this one's.

`python -m pytest -p elsewhere` with tests/ on PYTHONPATH and the command of the program in QWILL_ELSEWHERE sends what
the tests ask of `qwill._native` through the program's standard input; csrc/program/messages.h has the format. Every
array that can be written comes back. Calls that the program does not have fail.
"""

import os
import shlex
import struct
import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from qwill import _native

_program = subprocess.Popen(shlex.split(os.environ["QWILL_ELSEWHERE"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
_calls: Counter[str] = Counter()


def _string(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def _argument(value: Any) -> bytes:
    match value:
        case None:
            return b"n"
        case str():
            return b"s" + _string(value)
        case bool() | int() | np.integer():
            return b"i" + struct.pack("<q", value)
        case float() | np.floating():
            return b"f" + struct.pack("<d", value)
        case np.ndarray():
            assert value.flags.c_contiguous
            sizes = struct.pack(f"<I{value.ndim}qQ", value.ndim, *value.shape, value.nbytes)
            return (b"w" if value.flags.writeable else b"a") + sizes + value.tobytes()
    raise TypeError(f"no argument of a kernel: {value!r}")


def _read(size: int) -> bytes:
    assert _program.stdout
    data = _program.stdout.read(size)
    if len(data) != size:
        raise RuntimeError(f"the program ended: exit status {_program.wait()}")
    return data


def call(function: str, *arguments: Any) -> list[bytes]:
    """What a function of the program returns, each array as bytes, after those that it wrote are written here."""
    assert _program.stdin
    message = _string(function) + struct.pack("<I", len(arguments)) + b"".join(map(_argument, arguments))
    _program.stdin.write(message)
    _program.stdin.flush()
    answers = [_read(*struct.unpack("<Q", _read(8))) for _ in range(*struct.unpack("<I", _read(4)))]
    written = [array for array in arguments if isinstance(array, np.ndarray) and array.flags.writeable]
    for array, answer in zip(written, answers, strict=False):
        array[...] = np.frombuffer(answer, array.dtype).reshape(array.shape)
    return answers[len(written) :]


@dataclass(frozen=True)
class Weight:
    """What a projection needs of `plan_weight`'s arguments: the program packs anew for every call."""

    rows: int
    planned: tuple[Any, ...]


def plan_weight(
    _type: str, type_id: int, parts: list[np.ndarray], rows: int, columns: int, _row_bytes: int,
    scales: list[np.ndarray], row_scales: list[np.ndarray], _mapped: bool,
) -> Weight:  # fmt: skip
    lists = (len(scales), *scales, len(row_scales), *row_scales)
    return Weight(rows, (type_id, len(parts), *parts, rows, columns, *lists))


class Cpu:
    def __init__(self, isa: str, threads: int) -> None:
        self.isa, self.threads = isa, threads

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._call(name, *arguments)

    def _call(self, name: str, *arguments: Any) -> list[bytes]:
        _calls[self.isa] += 1
        return call(name, self.isa, self.threads, *arguments)

    def pack(self, _weights: list[Weight]) -> int:
        return -1

    def linear(self, x: np.ndarray, weight: Weight, *others: Any) -> None:
        self._call("linear", *weight.planned, x, *others)

    def can_encode(self, type_id: int) -> bool:
        return self._call("can_encode", type_id) == [b"\1"]

    def is_finite(self, values: np.ndarray) -> bool:
        return self._call("is_finite", values) == [b"\1"]

    def encode(self, type_id: int, values: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        (rows,) = self._call("encode", type_id, values, importance)
        return np.frombuffer(rows, np.uint8).reshape(len(values), -1)

    def encode_fp8(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, scales = self._call("encode_fp8", values)
        blocks = (-(-values.shape[0] // 128), -(-values.shape[1] // 128))
        return np.frombuffer(codes, np.uint8).reshape(values.shape), np.frombuffer(scales, np.float32).reshape(blocks)


_isas = call("available_isas")[0].decode().split()
for _name, _value in {"Cpu": Cpu, "Weight": Weight, "plan_weight": plan_weight}.items():
    setattr(_native, _name, _value)
_native.available_isas = lambda: list(_isas)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for isa in _isas:
        terminalreporter.write_line(f"{isa}: {_calls[isa]} calls of kernels")


def pytest_unconfigure() -> None:
    assert _program.stdin
    assert _program.stdout
    _program.stdin.close()
    _program.stdout.close()
    _program.wait()
