"""`Sampler`: chooses tokens and calls from their probabilities."""

import numpy as np
import torch

from toolken.errors import ToolSpecError


class Sampler:
    """Takes the most probable token or tool, or samples with temperature and top-p.

    Parameters
    ----------
    temperature
        0 takes the most probable.
    top_p
        Sample from the most probable tokens that together have this probability.
    seed
        Seed of the samples; without one they differ between runs.
    """

    def __init__(self, temperature: float = 0.0, top_p: float = 1.0, seed: int | None = None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self._draws = torch.Generator()
        if seed is None:
            self._draws.seed()
        else:
            self._draws.manual_seed(seed)

    def token(self, logits: torch.Tensor) -> int:
        """Choose a token by its logits `(V,)`."""
        if self.temperature <= 0:
            return int(logits.argmax())
        probabilities = torch.softmax(logits / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            beyond = ordered.cumsum(0) - ordered >= self.top_p
            probabilities[order[beyond]] = 0
        return self._draw(probabilities)

    def calls(self, probability: float, threshold: float) -> bool:
        """Decide whether a tool is called: at P(call) >= threshold, or with P(call) where tokens are sampled."""
        bar = float(torch.rand(1, generator=self._draws)) if self.temperature > 0 else threshold
        return probability >= bar

    def tool(self, shares: torch.Tensor) -> int:
        """Choose a tool by P(tool | call), `(T,)`."""
        if self.temperature <= 0:
            return int(shares.argmax())
        return self._draw(shares)

    def _draw(self, probabilities: torch.Tensor) -> int:
        # The generator is on the CPU, so that a seed draws the same on every device.
        return int(torch.multinomial(probabilities.cpu(), 1, generator=self._draws))


def masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits `(V,)`, on their device, with minus infinity where the mask, one bit per token, is off.

    Raises
    ------
    ToolSpecError
        If the mask allows no token.
    """
    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")[: len(logits)]
    if not bits.any():
        raise ToolSpecError("The grammar of the arguments allows no token: simplify the tool's schema.")
    # Tokens beyond the mask have no bit and are off.
    off = np.ones(len(logits), dtype=bool)
    off[: len(bits)] = bits == 0
    return logits.masked_fill(torch.from_numpy(off).to(logits.device), -torch.inf)
