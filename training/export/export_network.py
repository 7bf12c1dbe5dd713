"""The exported network: a copy of a frozen LM with an extended vocabulary."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from toolken.errors import ExportError
from toolken.training.lm import FrozenLM

#: Model types whose next-token logits are exactly the output matrix times the hidden state.
FAMILIES = ("llama", "qwen2")
#: Tokens per batch, padding included.
BATCH_TOKENS = 1024


def check_family(lm: FrozenLM) -> None:
    """Check that an LM can be exported.

    Raises
    ------
    ExportError
        If it is of another family, quantized, or its output matrix has a bias.
    """
    kind = getattr(lm.config, "model_type", None)
    if kind not in FAMILIES:
        raise ExportError(
            f"{lm.name} is of the family {kind!r}, and only {' and '.join(FAMILIES)} can be exported: fit a head with "
            "such an LM."
        )
    if lm.number_format == "llama.cpp":
        raise ExportError(f"{lm.name} runs on llama.cpp, which has no weights to export: load it with transformers.")
    if lm.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ExportError(f"The weights of {lm.name} are {lm.dtype}: load it in float32, bfloat16 or float16.")


class ExportNetwork:
    """The exported network: the unchanged weights of the LM, an untied output matrix, and embeddings of added tokens.

    Parameters
    ----------
    lm
        The LM; its weights are copied.
    size
        Size of the vocabulary with the added tokens.

    Raises
    ------
    ExportError
        If the LM cannot be exported.
    """

    def __init__(self, lm: FrozenLM, size: int) -> None:
        check_family(lm)
        from transformers import AutoModelForCausalLM

        original = lm.model
        config = copy.deepcopy(original.config)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=lm.dtype)
        model.load_state_dict(original.state_dict())
        model.generation_config = copy.deepcopy(original.generation_config)
        if model.get_output_embeddings().bias is not None:
            raise ExportError(f"The output matrix of {lm.name} has a bias: such an LM cannot be exported.")
        #: Rows of the original output matrix.
        self.vocabulary_size = int(model.get_output_embeddings().weight.shape[0])
        model.resize_token_embeddings(max(size, self.vocabulary_size), mean_resizing=False)
        head = model.get_output_embeddings()
        # Untied: the output embedding of a toolken is unrelated to its input embedding.
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
        model.eval().requires_grad_(False)
        #: The transformers model.
        self.model = model

    @property
    def input_embeddings(self) -> torch.Tensor:
        """The input embeddings, `(V, d)`."""
        rows: torch.Tensor = self.model.get_input_embeddings().weight
        return rows

    @property
    def output_embeddings(self) -> torch.Tensor:
        """The output matrix, `(V, d)`."""
        rows: torch.Tensor = self.model.get_output_embeddings().weight
        return rows

    def best_token(self, hidden: torch.Tensor, added: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the largest original logit `(n,) float32` and its token `(n,) int64` at states `(n, d)`."""
        values, tokens = [], []
        mine = torch.tensor([at for at in added if at < self.output_embeddings.shape[0]], dtype=torch.long)
        for part in hidden.split(256):
            logits = (part.to(self.output_embeddings.dtype) @ self.output_embeddings.T).float()
            logits[:, mine] = -torch.inf
            logits[:, self.vocabulary_size :] = -torch.inf
            best = logits.max(dim=1)
            values.append(best.values)
            tokens.append(best.indices)
        return torch.cat(values), torch.cat(tokens)

    @torch.no_grad()
    def generated(self, texts: Sequence[list[int]], added: Sequence[int], count: int = 20) -> list[list[int]]:
        """Return greedy continuations of texts up to the end token, without added tokens."""
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(texts):
            ids[row, longest - len(text) :] = torch.tensor(text)
            mask[row, longest - len(text) :] = 1
        ends = self.model.generation_config.eos_token_id
        written = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=count,
            do_sample=False,
            suppress_tokens=sorted({*added, *range(self.vocabulary_size, self.output_embeddings.shape[0])}),
            pad_token_id=ends[0] if isinstance(ends, list) else ends,
        )[:, longest:].tolist()
        stops = set(ends if isinstance(ends, list) else [ends])
        return [one[: next((at + 1 for at, token in enumerate(one) if token in stops), len(one))] for one in written]

    @torch.no_grad()
    def states(
        self,
        texts: Sequence[list[int]],
        positions: Sequence[Sequence[int]],
        advance: Callable[[int], None] | None = None,
    ) -> list[torch.Tensor]:
        """Return the hidden states after the final norm at some positions, `(positions, d) float32` per text."""
        found: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        decoder = self.model.get_decoder()
        for batch in _batches([len(text) for text in texts]):
            longest = max(len(texts[at]) for at in batch)
            ids = torch.zeros(len(batch), longest, dtype=torch.long)
            for row, at in enumerate(batch):
                ids[row, : len(texts[at])] = torch.tensor(texts[at])
            # Right padding: causal attention ignores it.
            hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
            for row, at in enumerate(batch):
                found[at] = hidden[row, torch.tensor(positions[at], dtype=torch.long)].float()
            if advance is not None:
                advance(len(batch))
        return found


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda at: (lengths[at], at))
    batch: list[int] = []
    for at in order:
        if batch and (len(batch) + 1) * lengths[at] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch
