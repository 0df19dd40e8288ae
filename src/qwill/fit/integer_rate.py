"""How fast this machine multiplies small integers."""

import time

ROUNDS = 4_000_000
PASSES = 5


def integer_rate(threads: int, isa: str = "") -> float:
    """Multiplications and additions per second of int8 dot products, all threads together, nothing read from memory;
    the best of five passes.

    That is the bound of a prefill with quantized weights. isa: by default the best that the processor has.
    """
    from qwill._native import Cpu, available_isas

    cpu = Cpu(isa or available_isas()[-1], threads)
    rounds = ROUNDS if cpu.isa.startswith("avx512") else ROUNDS // 20
    cpu.dots(rounds // 2)
    rates = []
    for _ in range(PASSES):
        start = time.perf_counter()
        operations: int = cpu.dots(rounds)
        rates.append(operations / (time.perf_counter() - start))
    return max(rates)
