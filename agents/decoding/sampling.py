"""`Sampler`: how tokens, and calls, are chosen from their probabilities."""

import numpy as np
import torch

from toolken.errors import ToolSpecError


class Sampler:
    """Takes the likeliest, or draws by temperature and top-p.

    Parameters
    ----------
    temperature
        0 takes the likeliest.
    top_p
        Draw from the likeliest tokens that together have this probability.
    seed
        Of the draws; without one they differ from run to run.
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
        probabilities = torch.softmax(logits.cpu() / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            beyond = ordered.cumsum(0) - ordered >= self.top_p
            probabilities[order[beyond]] = 0
        return int(torch.multinomial(probabilities, 1, generator=self._draws))

    def calls(self, probability: float, threshold: float) -> bool:
        """Choose whether a tool is called: from the threshold on, or by chance where tokens are drawn."""
        bar = float(torch.rand(1, generator=self._draws)) if self.temperature > 0 else threshold
        return probability >= bar

    def tool(self, shares: torch.Tensor) -> int:
        """Choose a tool by the tools' shares `(T,)`."""
        if self.temperature <= 0:
            return int(shares.argmax())
        return int(torch.multinomial(shares, 1, generator=self._draws))


def masked(logits: torch.Tensor, mask: bytes) -> torch.Tensor:
    """Return logits `(V,)` with minus infinity where the mask, one bit a token, is off.

    Raises
    ------
    ToolSpecError
        If the mask allows no token.
    """
    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")[: len(logits)]
    if not bits.any():
        raise ToolSpecError("The grammar of the arguments allows no token: simplify the tool's schema.")
    allowed = torch.zeros(len(logits), dtype=torch.bool)
    allowed[: len(bits)] = torch.from_numpy(bits.astype(bool))
    return logits.cpu().masked_fill(~allowed, -torch.inf)
