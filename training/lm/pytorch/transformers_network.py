"""`TransformersNetwork`: a transformers model that turns only the rows that are asked for into next-token logits."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from toolken.errors import BackendError, LMNotFoundError
from toolken.training.lm.pytorch.cache_support import (
    FAULTS,
    CacheSupport,
    first_error_line,
    looks_ahead,
    tried_continuation,
)
from toolken.training.lm.pytorch.network import TensorNetwork
from toolken.training.lm.pytorch.virtual_support import VirtualSupport, tried_virtual_tokens

if TYPE_CHECKING:
    from toolken.training.lm.frozen import FrozenLM


class TransformersNetwork(TensorNetwork):
    """Any Hugging Face causal LM.

    No architecture is assumed. What enters the model's output embeddings is the hidden state, whatever the model does
    afterwards (scaling, soft-capping) is left to the model itself, so the next-token logits are always its own.

    Parameters
    ----------
    model
        The model. Its parameters are set not to require gradients.
    name
        How it is called in messages.

    Raises
    ------
    LMNotFoundError
        If the model has no output embeddings, has an encoder, or lets a token look at those after it.
    """

    def __init__(self, model: Any, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self._name = name
        output = model.get_output_embeddings()
        if output is None:
            raise LMNotFoundError(f"{name} has no output embeddings, so it is not a causal LM: name one that is.")
        if getattr(model.config, "is_encoder_decoder", False):
            raise LMNotFoundError(f"{name} has an encoder and a decoder, so it is not a causal LM: name one that is.")
        self._continuation: CacheSupport | None = None
        self._virtual_support: VirtualSupport | None = None
        self._select: torch.Tensor | None = None
        self._captured: torch.Tensor | None = None
        self._between: tuple[torch.Tensor, ...] | None = None
        output.register_forward_pre_hook(self._keep_selected)
        try:
            ahead = looks_ahead(self)
        except FAULTS as error:
            raise LMNotFoundError(
                f"{name} does not read token ids alone, so it is not a causal LM: name one that is "
                f"({first_error_line(error)})."
            ) from error
        if ahead:
            raise LMNotFoundError(
                f"{name} lets a token look at those after it, so it is not a causal LM: name one that is."
            )

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def device(self) -> torch.device:
        # accelerate may keep weights on a disk, as meta tensors; its hook names the device that takes the token ids.
        hook = getattr(self.model.get_input_embeddings(), "_hf_hook", None)
        execution_device = getattr(hook, "execution_device", None)
        return torch.device(self.model.device if execution_device is None else execution_device)

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype

    @property
    def output_matrix(self) -> torch.Tensor:
        weight: torch.Tensor = self.model.get_output_embeddings().weight
        return weight

    @property
    def embedding_size(self) -> int:
        size: int = self.model.get_input_embeddings().weight.shape[-1]
        return size

    @property
    def end_ids(self) -> Any:
        return getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        tied = getattr(self.model, "all_tied_weights_keys", {})
        for name, weight in self.model.named_parameters():
            if not weight.is_meta:
                yield name, weight
            elif name not in tied:  # tied weights that are offloaded are two parameters
                yield name, self._offloaded(name)

    def _offloaded(self, name: str) -> torch.Tensor:
        """Return a weight that accelerate keeps outside the model; a model on the meta device has none."""
        module_name, _, own_name = name.rpartition(".")
        module = self.model.get_submodule(module_name)
        weights = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        weight: torch.Tensor = weights[own_name] if weights is not None else getattr(module, own_name)
        return weight

    def continuation(self, lm: "FrozenLM") -> CacheSupport:
        """Return what the model can do with its KV cache, which is tried when it is first asked for."""
        with lm.lock:
            if self._continuation is None:
                self._continuation = tried_continuation(lm)
            return self._continuation

    def virtual_support(self, lm: "FrozenLM") -> VirtualSupport:
        """Return what the model can do with virtual tokens, which is tried when it is first asked for."""
        with lm.lock:
            if self._virtual_support is None:
                self._virtual_support = tried_virtual_tokens(lm)
            return self._virtual_support

    def input_embeddings(self, ids: torch.Tensor | None) -> torch.Tensor:
        assert ids is not None
        embeddings: torch.Tensor = self.model.get_input_embeddings()(ids.to(self.device))
        return embeddings

    def forward(
        self,
        ids: torch.Tensor | None,
        select: torch.Tensor,
        *,
        embeddings: torch.Tensor | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do what `TensorNetwork.forward` says; options go to the model as they are.

        Raises
        ------
        LMNotFoundError
            If the model does not use its output embeddings.
        BackendError
            If the model does not take input embeddings.
        """
        inputs = self._inputs(ids, embeddings)
        self._select = select
        try:
            output = self.model(**inputs, **options)
            captured = self._captured
            if options.get("output_hidden_states"):
                self._between = getattr(output, "hidden_states", None)
        except (TypeError, ValueError, NotImplementedError) as error:
            if embeddings is None:
                raise
            raise BackendError(
                f"{self._name} does not take input embeddings, so virtual tokens cannot be used with it: choose "
                f"another LM ({first_error_line(error)})."
            ) from error
        finally:
            self._select = self._captured = None
        if captured is None:
            raise LMNotFoundError(f"{self._name} did not pass through its output embeddings: it is not supported.")
        logits = output.logits[0]
        # With a device map the output matrix may lie on another device than the one that returns the logits.
        return captured[0].to(logits.device), logits

    def layer_states(
        self, embeddings: torch.Tensor, layers: Sequence[int], select: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        self._between = None
        final, _ = self.forward(None, select, embeddings=embeddings, use_cache=False, output_hidden_states=True)
        found, self._between = self._between, None
        if found is None or max(layers, default=0) >= len(found):
            raise BackendError(f"{self._name} does not return the states of its layers: choose another LM.")
        return [found[layer] for layer in layers], final

    def _inputs(self, ids: torch.Tensor | None, embeddings: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if embeddings is None:
            assert ids is not None
            return {"input_ids": ids.to(self.device)}
        own = self.model.get_input_embeddings().weight.dtype
        return {"inputs_embeds": embeddings.to(self.device, own if own.is_floating_point else self.dtype)}

    def _keep_selected(self, _module: Any, arguments: tuple[torch.Tensor, ...]) -> Any:
        # Only the rows that are asked for go through the output matrix, which is a third of a small model's work.
        if self._select is None:
            return None
        hidden = arguments[0].reshape(-1, arguments[0].shape[-1])
        self._captured = hidden.index_select(0, self._select.to(hidden.device)).unsqueeze(0)
        return (self._captured,)
