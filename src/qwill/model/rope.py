"""Rotary position embeddings: the text model's interleaved axes, YaRN, and the vision tower's grid."""

import math

import numpy as np

from qwill.model.config import RopeConfig


def inverse_frequencies(rope: RopeConfig) -> tuple[np.ndarray, float]:
    """Inverse frequencies [rotary_dim / 2] f32 and the factor on cos and sin (1 without YaRN)."""
    dims = np.arange(0, rope.rotary_dim, 2, dtype=np.float32)
    frequencies = np.float32(1) / np.float32(rope.theta) ** (dims / np.float32(rope.rotary_dim))
    if rope.yarn_factor is None:
        return frequencies, 1.0
    # YaRN (Peng et al., 2023): fast frequencies stay, slow ones are divided by the factor, a ramp between them.
    low, high = (
        rope.rotary_dim * math.log(rope.yarn_original_context / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))
        for rotations in (rope.yarn_beta_fast, rope.yarn_beta_slow)
    )
    if rope.yarn_truncate:
        low, high = math.floor(low), math.ceil(high)
    first, last = max(low, 0), min(high, rope.rotary_dim - 1)
    width = last - first if last != first else 0.001
    interpolated = np.clip(
        (np.arange(rope.rotary_dim // 2, dtype=np.float32) - np.float32(first)) / np.float32(width), 0, 1
    )
    frequencies = frequencies / np.float32(rope.yarn_factor) * interpolated + frequencies * (1 - interpolated)
    factor = rope.yarn_attention_factor
    if factor is None:
        factor = 0.1 * math.log(rope.yarn_factor) + 1.0 if rope.yarn_factor > 1 else 1.0
    return frequencies.astype(np.float32), factor


def frequency_axes(rope: RopeConfig) -> np.ndarray:
    """Which position axis (0 T, 1 H, 2 W) drives each of the rotary_dim / 2 frequencies: T H W T H W …, the tail T."""
    axes = np.zeros(rope.rotary_dim // 2, np.int32)
    for axis in (1, 2):
        axes[axis : 3 * rope.sections[axis] : 3] = axis
    return axes


class TextRope:
    """cos and sin of token positions."""

    def __init__(self, rope: RopeConfig) -> None:
        self._frequencies, factor = inverse_frequencies(rope)
        self._factor = np.float32(factor)
        self._axes = frequency_axes(rope)

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """positions [3, tokens] int → cos and sin [tokens, rotary_dim / 2] f32."""
        angles = np.ascontiguousarray(positions[self._axes].T, np.float32) * self._frequencies
        cos, sin = np.cos(angles), np.sin(angles)
        if self._factor != 1:
            cos, sin = cos * self._factor, sin * self._factor
        return cos, sin


def vision_rope(rows: np.ndarray, columns: np.ndarray, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [patches, head_dim / 2] f32 of patches at (row, column): the first half of the frequencies by row."""
    quarter = np.arange(0, head_dim // 2, 2, dtype=np.float32) / np.float32(head_dim // 2)
    frequencies = np.float32(1) / np.float32(10_000) ** quarter
    angles = np.concatenate(
        [rows[:, None].astype(np.float32) * frequencies, columns[:, None].astype(np.float32) * frequencies], axis=1
    )
    return np.cos(angles), np.sin(angles)
