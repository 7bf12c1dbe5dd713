"""`Provenance`: the examples that a head was fitted on, and its metrics."""

import hashlib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from toolken.training.examples import Example

_BYTES = 32


class Provenance(BaseModel):
    """The examples of a head, by number and hash, and the metrics of its fit.

    Attributes
    ----------
    examples
        Number of examples.
    data
        Sum of the examples' SHA-256 digests modulo 2^256, in hex. It does not depend on the order, and examples can be
        added, merged and removed as in the statistics: heads of the same examples have the same hash.
    metrics
        Metrics by name. `fit` stores accuracy and log loss of tool selection on left-out or held-out examples; more
        can be added. A change of examples or tools drops them, since they describe the head before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: int = Field(default=0)
    data: str = Field(default="0" * 2 * _BYTES, pattern=r"^[0-9a-f]{64}$")
    metrics: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Provenance":
        """Return the provenance of some examples."""
        return cls().joined(examples)

    def joined(self, examples: Iterable[Example]) -> "Provenance":
        """Return the provenance with further examples."""
        return self._changed(examples, 1)

    def without(self, examples: Iterable[Example]) -> "Provenance":
        """Return the provenance without some of the examples."""
        return self._changed(examples, -1)

    def merge(self, other: "Provenance") -> "Provenance":
        """Return the provenance of both sets of examples."""
        return Provenance(examples=self.examples + other.examples, data=_hex(int(self.data, 16) + int(other.data, 16)))

    def unmeasured(self) -> "Provenance":
        """Return the provenance without metrics."""
        return self.model_copy(update={"metrics": {}})

    def _changed(self, examples: Iterable[Example], sign: int) -> "Provenance":
        number, total = self.examples, int(self.data, 16)
        for example in examples:
            number += sign
            total += sign * int.from_bytes(hashlib.sha256(example.model_dump_json().encode()).digest())
        return Provenance(examples=number, data=_hex(total))


def _hex(total: int) -> str:
    return f"{total % (1 << 8 * _BYTES):0{2 * _BYTES}x}"
