"""`PretrainedPrior`: what is learned once per LM from many tools, so that new tools work by their descriptions."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from toolken.errors import FingerprintError, HeadError
from toolken.training.head.atomic_file import replace_file
from toolken.training.lm import FrozenLM
from toolken.training.prior.asking import AskingModel
from toolken.training.prior.call_gate import CallGate
from toolken.training.prior.request_metric import RequestMetric
from toolken.training.prior.request_reader import Exchange, RequestReader, read_tools
from toolken.training.tool_spec import ToolSpec

#: Version of the files.
VERSION = 1
#: P(fits) from which a message is decided without the turns before it. Chosen on the dev domains.
FITS_ALONE = 0.7
TENSORS, CARD = "prior.safetensors", "prior.json"


@dataclass(frozen=True, eq=False)
class PretrainedPrior:
    """A metric in which a tool's description predicts the requests for it, and the call gate over any set of tools.

    The output embedding of a tool is the place of its description in the metric, and the logit of a request's tool is
    their inner product times `scale`. See `pretrain`, which fits all of it.

    Attributes
    ----------
    lm_name, lm_fingerprint
        The LM it was learned with.
    reader
        How texts are read.
    metric
        Where requests and tools lie.
    asking
        Whether a message asks for anything.
    scale
        What similarities are multiplied by in the softmax over the tools.
    gate
        Whether one of the tools at hand fits.
    threshold
        P(call), that a message asks for something and that a tool fits, from which a tool is called.
    card
        What it was learned from and measured on: sources, licences, counts and figures.
    """

    lm_name: str
    lm_fingerprint: str
    reader: RequestReader
    metric: RequestMetric
    asking: AskingModel
    scale: float
    gate: CallGate
    threshold: float
    card: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"PretrainedPrior(lm_name={self.lm_name!r}, threshold={self.threshold}, digest={self.digest!r})"

    @cached_property
    def digest(self) -> str:
        """Hex digest of the numbers that decisions depend on."""
        found = hashlib.sha256(f"{self.lm_fingerprint} {self.reader.layers} {self.scale} {self.threshold}".encode())
        for tensor in self._tensors().values():
            found.update(tensor.numpy().tobytes())
        return found.hexdigest()[:32]

    def check(self, lm: FrozenLM) -> None:
        """Make sure that the prior was learned with this LM.

        Raises
        ------
        FingerprintError
            If it was not.
        """
        if lm.fingerprint != self.lm_fingerprint:
            raise FingerprintError(
                f"This prior was learned with the LM {self.lm_name!r}, and {lm.name!r} is another one: "
                "learn one with `toolken pretrain`, or leave the prior out."
            )

    def output_embeddings(
        self, lm: FrozenLM, specs: Sequence[ToolSpec], *, advance: Callable[[int], None] | None = None
    ) -> torch.Tensor:
        """Return the output embeddings of tools, `(T, m) float32` of length 1; the LM reads each description once.

        Raises
        ------
        FingerprintError
            If the prior was learned with another LM.
        BackendError
            If the LM's backend does not give the states between layers.
        """
        self.check(lm)
        return self.metric.tools(read_tools(self.reader, lm, specs, advance=advance))

    def request(self, lm: FrozenLM, conversation: Sequence[Exchange]) -> torch.Tensor:
        """Return what a conversation that ends with a user's message is decided from, `(2 m + 1,) float32`.

        These are the views of the message alone; its views after the turns before it, a third, with two thirds of those
        of the last two messages as one, since a follow-up ("and in Rome?") names its subject in the message before; and
        the log odds that it asks for something, alone and in its conversation.
        """
        texts = [[conversation[-1]]]
        if len(conversation) > 1:
            *before, (earlier, _), (last, _) = conversation
            texts += [list(conversation), [*before, (f"{earlier}\n{last}", "")]]
        read = self.reader.read(lm, texts)
        views = self.metric.views(read, "request")
        asking = self.asking.log_odds(read)[:2].mean()
        following = (views[1] + 2 * views[2]) / 3 if len(texts) > 1 else views[0]
        return torch.cat([views[0], following, asking[None]])

    def similarities(self, requests: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the similarities `(n, T)` of requests `(n, 2 m + 1)` to tools `(T, m)`.

        A message that a tool fits when it is read alone begins something new; others are taken with the turns before.
        """
        size = embeddings.shape[1]
        alone, following = (
            self.metric.placed(views.float(), "request") @ embeddings.T
            for views in (requests[:, :size], requests[:, size : 2 * size])
        )
        new = torch.sigmoid(self.gate.log_odds(alone)) >= FITS_ALONE
        return torch.where(new[:, None], alone, following)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {**self.metric.tensors(), **self.asking.tensors(), **self.gate.tensors()}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior to a folder; it is whole or absent at any moment.

        Raises
        ------
        HeadError
            If the folder cannot be written.
        """
        data = save(self._tensors())
        text = {
            "version": VERSION,
            "lm_name": self.lm_name,
            "lm_fingerprint": self.lm_fingerprint,
            "layers": list(self.reader.layers),
            "scale": self.scale,
            "threshold": self.threshold,
            "tensors": hashlib.sha256(data).hexdigest(),
            "card": self.card,
        }
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / TENSORS, data)
            replace_file(folder / CARD, (json.dumps(text, indent=1, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise HeadError(f"The prior cannot be written to {str(folder)!r} ({error.strerror}).") from error

    @classmethod
    def from_pretrained(cls, folder: str | Path, lm: FrozenLM | None = None) -> "PretrainedPrior":
        """Read a prior from a folder, and check it against the LM if one is given.

        Raises
        ------
        HeadError
            If the folder has no prior, one of another version, or a broken one.
        FingerprintError
            If `lm` is not the LM of this prior.
        """
        folder = Path(folder)
        try:
            text = json.loads((folder / CARD).read_text(encoding="utf-8"))
            data = (folder / TENSORS).read_bytes()
        except OSError as error:
            raise HeadError(
                f"{str(folder)!r} holds no prior ({error.strerror}): give a folder of `toolken pretrain`."
            ) from error
        except ValueError as error:
            raise HeadError(f"{str(folder / CARD)!r} is broken ({error}): learn the prior again.") from error
        try:
            if text["version"] != VERSION:
                raise HeadError(
                    f"The prior in {str(folder)!r} has the version {text['version']}, and this toolken reads "
                    f"{VERSION}: learn it again with `toolken pretrain`."
                )
            if hashlib.sha256(data).hexdigest() != text["tensors"]:
                raise HeadError(f"The files of the prior in {str(folder)!r} do not belong together: learn it again.")
            tensors = load(data)
            prior = cls(
                lm_name=text["lm_name"],
                lm_fingerprint=text["lm_fingerprint"],
                reader=RequestReader(tuple(text["layers"])),
                metric=RequestMetric.of(tensors),
                asking=AskingModel.of(tensors),
                scale=float(text["scale"]),
                gate=CallGate.of(tensors),
                threshold=float(text["threshold"]),
                card=text["card"],
            )
        except (KeyError, TypeError, SafetensorError) as error:
            raise HeadError(f"The prior in {str(folder)!r} is broken ({error}): learn it again.") from error
        if lm is not None:
            prior.check(lm)
        return prior
