"""How fast this machine multiplies small integers."""

import time

from qwill._native import Cpu, available_isas

ROUNDS = 20_000_000


def integer_rate(threads: int, isa: str = "") -> float:
    """Multiplications and additions per second of int8 dot products, all threads together, nothing read from memory.

    That is the bound of a prefill with quantized weights. isa: by default the best that the processor has.
    """
    cpu = Cpu(isa or available_isas()[-1], threads)
    rounds = ROUNDS if cpu.isa.startswith("avx512") else ROUNDS // 20
    cpu.dots(rounds // 10)
    start = time.perf_counter()
    operations: int = cpu.dots(rounds)
    return operations / (time.perf_counter() - start)
