"""The number format in which a device multiplies fastest."""

import time
from functools import cache

import torch


@cache
def fastest_dtype(device: str = "cpu") -> torch.dtype:
    """Return float32 or bfloat16, whichever this device multiplies faster.

    Many CPUs only emulate bfloat16, at a third of the speed of float32; where they have it, it is twice as fast.
    What the processor says of itself decides; where it says nothing, a product is timed.
    """
    native = native_bfloat16() if device == "cpu" else None
    if native is None:
        return _timed(device)
    return torch.bfloat16 if native else torch.float32


def native_bfloat16() -> bool | None:
    """Tell whether the CPU multiplies matrices of bfloat16 by instructions of their own; None where it is not known."""
    try:
        flags = torch.cpu.get_capabilities()
    except AttributeError:  # torch before it had them
        return None
    if flags.get("architecture") != "x86_64" or "avx512_bf16" not in flags or "amx_bf16" not in flags:
        return None
    if flags["amx_bf16"]:
        return True
    # What the dot products of AVX-512 gain without AMX differs between processors.
    return None if flags["avx512_bf16"] else False


def _timed(device: str) -> torch.dtype:
    """Time a product of the shape of a small LM's layer, a few milliseconds, in both formats."""
    times: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (
            torch.ones(256, 576, dtype=dtype, device=device),
            torch.ones(576, 1536, dtype=dtype, device=device),
        )
        (left @ right).sum().item()  # the first product pays for setting up
        spent = []
        for _ in range(5):
            begun = time.perf_counter()
            (left @ right).sum().item()
            spent.append(time.perf_counter() - begun)
        times[dtype] = min(spent)
    return min(times, key=lambda dtype: times[dtype])
