"""RMSNorm and LayerNorm by the native kernels; shapes and meaning as in the reference."""

import numpy as np

from qwill._native import Cpu
from qwill.ops.arrays import empty


def rms_norm(cpu: Cpu, x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    out = empty(*x.shape)
    cpu.rms_norm(x, weight, eps, out)
    return out


def layer_norm(cpu: Cpu, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    out = empty(*x.shape)
    cpu.layer_norm(x, weight, bias, eps, out)
    return out
