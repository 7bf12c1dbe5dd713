"""Tokens are masked and sampled on the device of the logits."""

import numpy as np
import pytest
import torch

from toolken.agents.decoding.sampling import Sampler, masked
from toolken.errors import ToolSpecError


def packed(allowed: list[bool]) -> bytes:
    return np.packbits(np.array(allowed), bitorder="little").tobytes()


def test_a_mask_applies_on_the_device_of_the_logits() -> None:
    assert masked(torch.zeros(5, device="meta"), packed([True] * 5)).device.type == "meta"


@pytest.mark.parametrize("size", [4, 8, 11])
def test_only_allowed_tokens_keep_their_logit(size: int) -> None:
    allowed = [at % 3 == 1 for at in range(8)]
    found = masked(torch.arange(float(size)), packed(allowed))
    assert found.isfinite().tolist() == (allowed + [False] * 3)[:size]
    assert Sampler().token(found) == max(at for at in range(min(size, 8)) if allowed[at])


def test_a_mask_without_a_token_is_an_error() -> None:
    with pytest.raises(ToolSpecError, match="allows no token"):
        masked(torch.zeros(3), packed([False] * 3))


def test_a_seed_gives_the_same_samples() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -9.0])
    runs = [[sampler.token(logits) for _ in range(20)] for sampler in (Sampler(1.0, 0.9, 3), Sampler(1.0, 0.9, 3))]
    assert runs[0] == runs[1]
    assert 3 not in runs[0]
    assert len(set(runs[0])) > 1
