"""The number format follows what the processor says of itself, and a timing where it says nothing."""

from typing import Any

import pytest
import torch

from toolken.training.lm import number_format


def say(monkeypatch: pytest.MonkeyPatch, **flags: Any) -> None:
    """Make the processor say something of itself."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(number_format, "_timed", lambda device: torch.float64)
    number_format.fastest_dtype.cache_clear()


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Forget what was found with other flags."""
    yield
    number_format.fastest_dtype.cache_clear()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": True}, torch.bfloat16),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, torch.float64),
        ({"architecture": "x86_64"}, torch.float64),
        ({"architecture": "aarch64", "bf16": True}, torch.float64),
        ({}, torch.float64),
    ],
    ids=str,
)
def test_flags_decide_where_they_tell(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], expected: torch.dtype
) -> None:
    say(monkeypatch, **flags)
    assert number_format.fastest_dtype() == expected


def test_without_flags_a_product_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert number_format.native_bfloat16() is None
    assert number_format.fastest_dtype() in (torch.float32, torch.bfloat16)


def test_another_device_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, architecture="x86_64", avx512_bf16=False, amx_bf16=False)
    assert number_format.fastest_dtype("meta") == torch.float64
