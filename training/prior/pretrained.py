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
from toolken.training.prior.call_features import CallGate
from toolken.training.tool_spec import ToolSpec, name_words

#: Version of the files.
VERSION = 1
TENSORS, CARD = "prior.safetensors", "prior.json"
#: Earlier turns of a conversation that a decision reads, and characters of each text in it.
EARLIER_TURNS, MAX_TEXT = 2, 1200
#: Characters of a description, and the arguments whose names follow it.
MAX_DESCRIPTION, MAX_ARGUMENTS = 400, 8

#: A user's message with the answer to it; the last one of a conversation has none.
Exchange = tuple[str, str]


@dataclass(frozen=True)
class DecisionReader:
    """Reads requests and descriptions as several views: averaged states of the words, and decision states.

    The text is the same for every conversation format, so that one prior serves all formats of an LM.

    Attributes
    ----------
    layers
        After which layers the states of the request's tokens are averaged.
    virtual
        Virtual tokens `(k, e)` after the text; None without any.
    """

    layers: tuple[int, ...]
    virtual: torch.Tensor | None = None

    @classmethod
    def of_depth(cls, lm: FrozenLM, virtual: torch.Tensor | None = None) -> "DecisionReader":
        """Return the reader of an LM: layers at about a quarter and a half of its depth."""
        depth = int(lm.config.get_text_config(decoder=True).num_hidden_layers)
        return cls(tuple(dict.fromkeys(max(1, round(depth * share)) for share in (0.27, 0.47))), virtual)

    @property
    def views(self) -> int:
        """Number v of the views."""
        return len(self.layers) + 1 + (self.virtual is not None)

    def read(
        self,
        lm: FrozenLM,
        conversations: Sequence[Sequence[Exchange]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> torch.Tensor:
        """Return the views of conversations that end with a user's message, `(n, v, d) float32` on the CPU.

        Raises
        ------
        BackendError
            If the LM's backend does not give the states between layers.
        """
        found = torch.empty(len(conversations), self.views, lm.hidden_size)
        encoded = [self._encoded(lm, conversation) for conversation in conversations]
        texts, spans = [ids for ids, _ in encoded], [span for _, span in encoded]
        for at, one in lm.views(texts, spans, self.layers, self.virtual, advance=advance):
            found[at] = one.cpu()
        return found

    def _encoded(self, lm: FrozenLM, conversation: Sequence[Exchange]) -> tuple[list[int], tuple[int, int]]:
        """Return the tokens of a conversation, and the span of the last message."""
        earlier = [
            f"Question: {_beginning(asked)}\nAnswer: {_beginning(answer)}\n\n"
            for asked, answer in conversation[:-1][-EARLIER_TURNS:]
        ]
        request = _beginning(conversation[-1][0])
        room = lm.max_length - (0 if self.virtual is None else len(self.virtual))
        while True:
            before = "".join(earlier) + "Question: "
            encoding = lm.encode(f"{before}{request}\nAnswer:")
            if len(encoding.ids) <= room:
                break
            # The oldest turn goes first, then the end of the request.
            if earlier:
                earlier.pop(0)
            else:
                request = request[: len(request) // 2]
        inside = [
            at
            for at, (begin, end) in enumerate(encoding.spans)
            if end > begin and begin < len(before) + len(request) and end > len(before)
        ]
        return encoding.ids, (inside[0], inside[-1] + 1) if inside else (0, len(encoding.ids))


def described(spec: ToolSpec) -> str:
    """Return what is read of a tool: its name in words, its description, and the names of its arguments."""
    text = f"{name_words(spec.name)}: {spec.description.strip()}"[:MAX_DESCRIPTION]
    names = [name_words(name) for name in spec.arguments][:MAX_ARGUMENTS]
    return f"{text} ({', '.join(names)})" if names else text


def _beginning(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT].rsplit(maxsplit=1)[0]


@dataclass(frozen=True, eq=False)
class PretrainedPrior:
    """A metric in which descriptions predict requests, and the call gate over any set of tools.

    A request x and a description y are whitened views, `(m,)` with m = v d. The prior mean of a tool is
    `y + (y left) right`, the ridge regression of the tools' mean requests on their descriptions; the output embedding
    of a tool is its direction. See `pretrain`, which fits all of it.

    Attributes
    ----------
    lm_name, lm_fingerprint
        The LM it was learned with.
    reader
        How texts are read.
    request_means, tool_means
        Mean views of requests and of descriptions, `(v, d)`.
    whitening
        Matrix of each view, `(v, d, d)`: the inverse square root of the covariance within tools.
    left, right
        The map, `(m, r)` and `(r, m)`.
    scale
        What similarities are multiplied by in the softmax over the tools.
    gate
        P(call).
    threshold
        P(call) from which a tool is called.
    card
        What it was learned from and measured on: sources, licences, counts and figures.
    """

    lm_name: str
    lm_fingerprint: str
    reader: DecisionReader
    request_means: torch.Tensor
    tool_means: torch.Tensor
    whitening: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    scale: float
    gate: CallGate
    threshold: float
    card: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the numbers that decisions depend on."""
        found = hashlib.sha256(f"{self.lm_fingerprint} {self.reader.layers} {self.scale} {self.threshold}".encode())
        for tensor in (self.request_means, self.tool_means, self.whitening, self.left, self.right):
            found.update(tensor.half().contiguous().numpy().tobytes())
        for tensor in self.gate.tensors().values():
            found.update(tensor.contiguous().numpy().tobytes())
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

    def requests(self, views: torch.Tensor) -> torch.Tensor:
        """Return requests in the metric, `(n, m)` of length 1, from their views `(n, v, d)`."""
        return self._whitened(views, self.request_means)

    def output_embeddings(
        self, lm: FrozenLM, specs: Sequence[ToolSpec], *, advance: Callable[[int], None] | None = None
    ) -> torch.Tensor:
        """Return the output embeddings of tools, `(T, m) float32` of length 1, which the LM reads once.

        Raises
        ------
        FingerprintError
            If the prior was learned with another LM.
        BackendError
            If the LM's backend does not give the states between layers.
        """
        self.check(lm)
        return self.tools(self.reader.read(lm, [[(described(spec), "")] for spec in specs], advance=advance))

    def tools(self, views: torch.Tensor) -> torch.Tensor:
        """Return output embeddings `(T, m)` of length 1 from the descriptions' views `(T, v, d)`."""
        known = self._whitened(views, self.tool_means)
        return torch.nn.functional.normalize(known + (known @ self.left) @ self.right, dim=1)

    def _whitened(self, views: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        white = torch.einsum("nvd,vde->nve", views.float() - means, self.whitening)
        flat: torch.Tensor = (torch.nn.functional.normalize(white, dim=2) / len(means) ** 0.5).flatten(1)
        return flat

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the prior to a folder; it is whole or absent at any moment.

        Raises
        ------
        HeadError
            If the folder cannot be written.
        """
        tensors = {
            "request_means": self.request_means,
            "tool_means": self.tool_means,
            "whitening": self.whitening.half(),
            "left": self.left.half(),
            "right": self.right.half(),
            **self.gate.tensors(),
        }
        if self.reader.virtual is not None:
            tensors["virtual"] = self.reader.virtual
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
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
                reader=DecisionReader(tuple(text["layers"]), tensors.get("virtual")),
                request_means=tensors["request_means"],
                tool_means=tensors["tool_means"],
                whitening=tensors["whitening"].float(),
                left=tensors["left"].float(),
                right=tensors["right"].float(),
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
