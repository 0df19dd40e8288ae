"""Elementwise functions in NumPy, as the references use them. float32 in, float32 out."""

import math

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), without overflow for large negative x."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + e^x)."""
    return np.logaddexp(np.float32(0), x)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """GELU by its tanh approximation (the vision blocks)."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


def gelu(x: np.ndarray) -> np.ndarray:
    """Exact GELU, x Φ(x) (the vision merger)."""
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return np.float32(0.5) * x * (1 + erf(x * np.float32(math.sqrt(0.5))))


ACTIVATIONS = {"none": lambda x: x, "silu": silu, "gelu_tanh": gelu_tanh, "gelu": gelu}
