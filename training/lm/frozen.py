"""`FrozenLM`: a causal language model and its tokenizer, never trained."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch

from toolken.errors import BackendError, LMNotFoundError, PromptTooLongError
from toolken.training.lm.checkpoint import LoadOptions, load_checkpoint, load_embedded, transformers_twin, usable_device
from toolken.training.lm.embedded import EMBEDDED
from toolken.training.lm.marked_text import MarkedText, encode_marked, marker_ids
from toolken.training.lm.network import Network
from toolken.training.lm.pytorch.llama import Llama
from toolken.training.lm.pytorch.network import TensorNetwork
from toolken.training.lm.pytorch.transformers_network import TransformersNetwork
from toolken.training.lm.session import Batch, Session, check_virtual
from toolken.training.lm.states import States

if TYPE_CHECKING:
    from toolken.training.lm.pytorch.kept_texts import KeptTexts

#: What runs an LM.
Backend: TypeAlias = Literal["transformers", "llama.cpp"]


@dataclass(frozen=True)
class Encoding:
    """Token ids of a text, and the character span `[start, end)` that each token covers."""

    ids: list[int]
    spans: list[tuple[int, int]]

    def last_token_before(self, offset: int) -> int:
        """Return the index of the last token that ends at or before a character offset, or -1."""
        for index in range(len(self.spans) - 1, -1, -1):
            start, end = self.spans[index]
            if end <= offset and end > start:
                return index
        return -1


class FrozenLM:
    """A causal LM and its tokenizer: hidden states, next-token logits, and stepping with a KV cache.

    One interface, whatever backend runs the LM: a head that was fitted on one works with the same model on another.
    Calls from several threads are serialised by `lock`.

    Parameters
    ----------
    model
        Any Hugging Face causal LM with output embeddings, whose parameters are set not to require gradients; or a
        network.
    tokenizer
        Its fast tokenizer (character offsets are needed).
    name
        How the LM is called in messages and saved heads.

    Raises
    ------
    LMNotFoundError
        If the tokenizer gives no character offsets, or the model is not a causal LM.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise LMNotFoundError(
                f"The tokenizer of {name} gives no character offsets: load it with a fast tokenizer (tokenizer.json)."
            )
        self._network: Network = model if isinstance(model, Network) else TransformersNetwork(model, name)
        self.tokenizer = tokenizer
        self.name = name
        self.lock = threading.RLock()
        # A tokenizer keeps the treatment of special tokens of its last call, so calls from threads take turns.
        self._tokenizing = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        lm: str | Path | None = None,
        *,
        backend: Backend = "transformers",
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
        device_map: Any = None,
        quantization_config: Any = None,
        revision: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
    ) -> "FrozenLM":
        """Load the embedded LM (the default), a folder, a GGUF file or a model of the Hugging Face hub.

        Parameters
        ----------
        lm
            What to load. The backend `"llama.cpp"` takes a GGUF file or the embedded LM.
        backend
            What runs the LM: `"transformers"`, or `"llama.cpp"` (extra `llamacpp`), which is faster on CPUs.
        dtype
            Number format of the weights, as a `torch.dtype` or its name. By default the checkpoint's own on
            accelerators, bfloat16 on CPUs with instructions for it, and float32 on other CPUs. llama.cpp keeps the
            file's own.
        device
            Device of the weights, the hidden states, the logits and the KV caches; the CPU by default.
        device_map
            Passed to transformers, which places the layers on several devices. Excludes `device`.
        quantization_config
            Passed to transformers, for example a `BitsAndBytesConfig`. The library that it needs must be installed.
        revision
            Branch, tag or commit of a model of the hub.
        model_kwargs
            Further arguments of `AutoModelForCausalLM.from_pretrained`, such as `attn_implementation`.

        Raises
        ------
        LMNotFoundError
            If `lm` is neither a folder nor a GGUF file nor a reachable hub id, or is not a causal LM.
        BackendError
            If there is no such backend, device or dtype, a library is not installed, or the backend does not take an
            argument.
        """
        if not (lm is None or isinstance(lm, str | Path)):
            raise LMNotFoundError(
                f"`lm` is a {type(lm).__name__}: give the name or the path of a model, or nothing for the embedded one."
            )
        name = EMBEDDED if lm is None or str(lm) == EMBEDDED else str(lm)
        if backend not in get_args(Backend):
            raise BackendError(f"There is no backend {backend!r}: name one of {', '.join(get_args(Backend))}.")
        arguments = dict(model_kwargs or {})
        device_map = arguments.pop("device_map", None) if device_map is None else device_map
        if device is not None and device_map is not None:
            raise BackendError("`device` and `device_map` exclude each other: drop `device`.")
        options = LoadOptions(
            dtype=_dtype_of(dtype),
            device=None if device is None or backend == "llama.cpp" else usable_device(device),
            device_map=device_map,
            quantization_config=quantization_config,
            revision=revision,
            model_kwargs=arguments,
        )
        if backend == "llama.cpp":
            if device is not None or options.dtype is not None or not options.is_plain:
                raise BackendError(
                    "llama.cpp runs a GGUF file on the CPU in the file's own number format: give no `dtype`, `device`, "
                    "`device_map`, `quantization_config`, `revision` or `model_kwargs`."
                )
            from toolken.training.lm.llama_cpp import load_gguf

            return cls(*load_gguf(name), name)
        return cls(*(load_embedded(options) if name == EMBEDDED else load_checkpoint(name, options)), name)

    @property
    def model(self) -> Any:
        """The Hugging Face model.

        The embedded LM runs without it, so it is loaded when it is first asked for, and runs from then on, with the
        same results; `config`, `dtype` and `device` are there without it.

        Raises
        ------
        BackendError
            If the LM does not run on torch.
        """
        with self.lock:
            network = self._tensor_network()
            if isinstance(network, Llama):
                self._network = network = transformers_twin(network)
        assert isinstance(network, TransformersNetwork)
        return network.model

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self._network.config

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights, or on llama.cpp of the states."""
        return self._network.dtype

    @property
    def number_format(self) -> str:
        """What the states depend on besides weights and tokens: `"float32"`, `"bfloat16"`, or `"llama.cpp"`."""
        return self._network.number_format

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights as they are in memory: what is read for each token that is decoded."""
        return self._network.weight_bytes

    @property
    def hidden_size(self) -> int:
        """Dimension d of a hidden state as the output matrix sees it."""
        return self._network.hidden_size

    @property
    def vocab_size(self) -> int:
        """Number of next-token logits."""
        return self._network.vocab_size

    @property
    def embedding_size(self) -> int:
        """Width e of the input embeddings, and of virtual tokens; with most LMs equal to `hidden_size`."""
        return self._network.embedding_size

    @property
    def max_length(self) -> int:
        """Longest context in tokens; a very large number where neither configuration nor backend names one."""
        part = getattr(self.config, "get_text_config", None)
        config = self.config if part is None else part(decoder=True)
        for key in ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions"):
            value = getattr(config, key, None)
            if isinstance(value, int) and value > 0:
                return min(value, self._network.max_tokens)
        return self._network.max_tokens

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return self._network.device

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Token ids that end a text: the tokenizer's and the generation settings' end tokens."""
        ids = [self.tokenizer.eos_token_id]
        for configured in (getattr(self.config, "eos_token_id", None), self._network.end_ids):
            ids.extend(configured if isinstance(configured, list | tuple) else [configured])
        return frozenset(i for i in ids if isinstance(i, int))

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of architecture, tokenizer and a sample of the weights; the same for every dtype and backend."""
        return self._network.fingerprint(self.tokenizer)

    def encode(self, text: str | MarkedText) -> Encoding:
        """Tokenize a text; what looks like a special token in it stays ordinary text, so no text can pose as one.

        A token that the tokenizer sets before every text stays, one that it appends is left out: texts go on. A marked
        text has special tokens outside its content, and no token that it does not name itself.
        """
        if isinstance(text, MarkedText):
            with self._tokenizing:
                return Encoding(*encode_marked(self.tokenizer, text, self._markers))
        encoding = self._tokenized(text)
        end = len(encoding.ids) - self._appended
        return Encoding(encoding.ids[:end], encoding.spans[:end])

    @cached_property
    def _appended(self) -> int:
        """Number of tokens that the tokenizer appends to every text, such as an end token."""
        spans = self._tokenized("a").spans
        covering = [at for at, (start, end) in enumerate(spans) if end > start]
        return len(spans) - 1 - covering[-1] if covering else 0

    @cached_property
    def _markers(self) -> frozenset[int]:
        return marker_ids(self.tokenizer)

    def _tokenized(self, text: str) -> Encoding:
        with self._tokenizing:
            encoded = self.tokenizer(text, return_offsets_mapping=True, split_special_tokens=True, verbose=False)
        return Encoding(list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]])

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special tokens are left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the input embeddings of tokens, from which virtual tokens can be initialised.

        They include whatever the LM's embedding layer does, such as scaling. On llama.cpp the first call reads the
        file's header, which takes seconds.

        Returns
        -------
        embeddings
            `(n, e) float32`, on the LM's device.

        Raises
        ------
        ValueError
            If there is no such token.
        """
        if unknown := [one for one in ids if not 0 <= one < self.vocab_size]:
            raise ValueError(f"{self.name} has {self.vocab_size} tokens, and no token {unknown[0]}.")
        with self.lock:
            return self._network.embed(ids)

    def hidden_states(
        self,
        sequences: Sequence[Sequence[int]],
        positions: Sequence[Sequence[int]],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, States]]:
        """Run the LM once over token sequences and yield the states at the asked positions.

        Sequences are batched by length, so they come back out of order, each with its index.

        Parameters
        ----------
        sequences
            Token ids, one list a text.
        positions
            For each text the token positions whose states are wanted.
        advance
            Called after each batch with the number of sequences done in it.

        Raises
        ------
        PromptTooLongError
            If a sequence is longer than the LM's context.
        """
        for index, ids in enumerate(sequences):
            if len(ids) > self.max_length:
                raise PromptTooLongError(
                    f"Text {index} has {len(ids)} tokens, and {self.name} takes {self.max_length}: shorten it."
                )
        yield from self._network.states(self, sequences, positions, advance)

    def virtual_states(
        self,
        sequences: Sequence[Sequence[int]],
        virtual: torch.Tensor,
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Run the LM once over token sequences, each followed by the same virtual tokens, and yield the last states.

        Sequences are batched by length, so they come back out of order, each with its index. A prefix that all of
        them share is computed once. There are no gradients; `virtual_batch` has them.

        Parameters
        ----------
        sequences
            Token ids, one list a text.
        virtual
            Input embeddings `(k, e)`, in any floating-point format and on any device.
        advance
            Called after each batch with the number of sequences done in it.

        Yields
        ------
        index, hidden
            Index of a sequence, and the hidden state `(d,) float32` after the last virtual token.

        Raises
        ------
        PromptTooLongError
            If a sequence and the virtual tokens together are longer than the LM's context.
        BackendError
            If the LM does not take input embeddings.
        ValueError
            If the tensor's shape is not `(k, e)` with k > 0.
        """
        self._check_virtual(sequences, virtual)
        yield from self._network.virtual_states(self, sequences, virtual.detach(), advance)

    @property
    def gives_layer_states(self) -> bool:
        """Whether the backend gives the states between layers, which `span_states` returns."""
        return self._network.gives_layer_states

    def span_states(
        self,
        sequences: Sequence[Sequence[int]],
        spans: Sequence[tuple[int, int]],
        layers: Sequence[int],
        *,
        advance: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Run the LM once over token sequences and yield the states of a span of each after some layers.

        Parameters
        ----------
        sequences
            Token ids, one nonempty list a text.
        spans
            For each text the tokens `[begin, end)` whose states are returned.
        layers
            After which layers; 1 is the first.
        advance
            Called after each batch with the number of sequences done in it.

        Yields
        ------
        index, states, last
            Index of a sequence, the states of its span `(n, len(layers), d) float32`, and the state after its last
            token and the final norm `(d,) float32`.

        Raises
        ------
        PromptTooLongError
            If a text is longer than the LM's context.
        BackendError
            If the backend does not give the states between layers.
        """
        for index, ids in enumerate(sequences):
            if len(ids) > self.max_length:
                raise PromptTooLongError(
                    f"Text {index} has {len(ids)} tokens, and {self.name} takes {self.max_length}: shorten it."
                )
        yield from self._network.span_states(self, sequences, spans, layers, advance)

    def virtual_batch(
        self, sequences: Sequence[Sequence[int]], virtual: torch.Tensor, *, kept: "KeptTexts | None" = None
    ) -> torch.Tensor:
        """Return the hidden states after virtual tokens that follow each text, with the gradient to the virtual tokens.

        The texts enter the KV cache without gradient, since they do not depend on what follows them. Only the virtual
        tokens take part in the backward pass, which costs k positions per text. All texts of a call are one batch.

        Parameters
        ----------
        sequences
            Token ids, one nonempty list a text.
        virtual
            Input embeddings `(k, e)`, usually in float32 and with `requires_grad`. They are converted to the format of
            the weights, and the gradient arrives in their own.
        kept
            KV caches of texts of earlier calls, which are not computed again, and to which those of this call are
            added.

        Returns
        -------
        hidden
            `(n, d) float32`, on the LM's device.

        Raises
        ------
        PromptTooLongError
            If a text and the virtual tokens together are longer than the LM's context.
        BackendError
            If the LM does not run on torch, or does not take input embeddings.
        ValueError
            If the tensor's shape is not `(k, e)` with k > 0, or a text has no token.
        """
        self._check_virtual(sequences, virtual)
        if not all(sequences):
            raise ValueError("virtual_batch needs at least one token in each text")
        if not sequences:
            return torch.empty(0, self.hidden_size, device=self.device)
        with self.lock:
            return self._tensor_network().virtual_batch(self, sequences, virtual, kept)

    def _check_virtual(self, sequences: Sequence[Sequence[int]], virtual: torch.Tensor) -> None:
        check_virtual(virtual, self.embedding_size)
        for index, ids in enumerate(sequences):
            if len(ids) + len(virtual) > self.max_length:
                raise PromptTooLongError(
                    f"Text {index} has {len(ids)} tokens and {len(virtual)} virtual ones, and {self.name} takes "
                    f"{self.max_length}: shorten it."
                )

    def start(self) -> Session:
        """Begin an empty text that is fed and extended token by token."""
        return self._network.start(self)

    def start_batch(self) -> Batch[Any]:
        """Begin a batch of this LM's texts, which one run of the LM extends together."""
        return self._network.start_batch(self)

    @torch.no_grad()
    def forward(
        self, ids: torch.Tensor | None, select: torch.Tensor, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model and return hidden states `(P, d)` and next-token logits `(P, V)` at flat positions `select`.

        `TensorNetwork.forward` describes the options.

        Raises
        ------
        BackendError
            If the LM does not run on torch.
        """
        with self.lock:
            return self._tensor_network().forward(ids, select, **options)

    def _tensor_network(self) -> TensorNetwork:
        if not isinstance(self._network, TensorNetwork):
            raise BackendError(
                f"{self.name} runs on llama.cpp, and this needs its weights in torch: load it with the backend "
                "'transformers'."
            )
        return self._network


def _dtype_of(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a number format that is given by its name, such as `"bfloat16"`; `"auto"` is None.

    Raises
    ------
    BackendError
        If torch has no floating-point format of that name.
    """
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if dtype is None or dtype == "auto":
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise BackendError(f"There is no number format {dtype!r} for weights: name one such as 'bfloat16'.")
    return found
