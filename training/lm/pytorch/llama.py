"""`Llama`: the forward pass of a Llama checkpoint, without the seconds that importing transformers' class takes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.nn import functional

from toolken.training.lm.pytorch.network import TensorNetwork

#: Settings for which this forward pass equals transformers'; None stands for an absent one.
COVERED: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "quantization_config": None,
}


@dataclass(frozen=True)
class _Layer:
    """Weights of one decoder layer; each matrix is `(out, in)`."""

    input_norm: torch.Tensor
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    output: torch.Tensor
    mlp_norm: torch.Tensor
    gate: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor


class Llama(TensorNetwork):
    """A decoder of the Llama architecture with tied embeddings, on the CPU.

    Root mean square norms, rotary positions, grouped-query attention and a gated SiLU network (Touvron et al. 2023,
    arXiv 2302.13971; Ainslie et al. 2023, arXiv 2305.13245). The operations and their order are those of transformers'
    `LlamaForCausalLM` with its default attention, so the results are the same to the last bit, and so are the names of
    the weights.

    Parameters
    ----------
    config
        The checkpoint's configuration, one that `covers` accepts.
    weights
        Tensors by their names in the checkpoint.
    folder
        Where the checkpoint is.

    Raises
    ------
    KeyError
        If a weight is missing.
    """

    def __init__(self, config: Any, weights: dict[str, torch.Tensor], folder: Path) -> None:
        self.folder = folder
        self._config = config
        self._weights = weights
        self._embeddings = weights["model.embed_tokens.weight"]
        self._norm = weights["model.norm.weight"]
        self._layers = [
            _Layer(
                *(
                    weights[f"model.layers.{index}.{name}.weight"]
                    for name in (
                        "input_layernorm",
                        "self_attn.q_proj",
                        "self_attn.k_proj",
                        "self_attn.v_proj",
                        "self_attn.o_proj",
                        "post_attention_layernorm",
                        "mlp.gate_proj",
                        "mlp.up_proj",
                        "mlp.down_proj",
                    )
                )
            )
            for index in range(config.num_hidden_layers)
        ]
        size = config.head_dim
        theta = config.rope_parameters["rope_theta"]
        self._frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float) / size))
        self._scale = size**-0.5
        self._groups = config.num_attention_heads // config.num_key_value_heads

    @classmethod
    def from_folder(cls, folder: Path, dtype: torch.dtype) -> "Llama | None":
        """Load a checkpoint of one safetensors file, or return None for one that this class does not cover.

        Raises
        ------
        OSError, KeyError, ValueError, SafetensorError
            If the folder's files cannot be read or do not belong together.
        """
        from transformers import PreTrainedConfig

        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not covers(values):
            return None
        # Copied even if the dtype stays, so that the weights do not depend on the memory-mapped file.
        weights = {
            name: tensor.to(dtype, copy=True) for name, tensor in load_file(folder / "model.safetensors").items()
        }
        return cls(PreTrainedConfig(**values), weights, folder)

    @property
    def config(self) -> Any:
        return self._config

    @property
    def device(self) -> torch.device:
        return self._embeddings.device

    @property
    def dtype(self) -> torch.dtype:
        return self._embeddings.dtype

    @property
    def output_matrix(self) -> torch.Tensor:
        return self._embeddings

    @property
    def embedding_size(self) -> int:
        return self._embeddings.shape[1]

    @property
    def end_ids(self) -> Any:
        return self._config.eos_token_id

    def named_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every weight once, by its name in a checkpoint."""
        yield from self._weights.items()

    def input_embeddings(self, ids: torch.Tensor | None) -> torch.Tensor:
        assert ids is not None
        return functional.embedding(ids, self._embeddings)

    def forward(
        self,
        ids: torch.Tensor | None,
        select: torch.Tensor,
        *,
        embeddings: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
        between: dict[int, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do what `TensorNetwork.forward` says; the keys of `between` are layers, whose states become its values."""
        hidden = self.input_embeddings(ids) if embeddings is None else embeddings.to(self.device, self.dtype)
        length = hidden.shape[1]
        past = 0 if past_key_values is None else int(past_key_values.get_seq_length())
        if position_ids is None:
            position_ids = torch.arange(past, past + length).unsqueeze(0)
        angles = position_ids[..., None].float() * self._frequencies
        angles = torch.cat((angles, angles), dim=-1).unsqueeze(1)
        rotation = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        mask = _mask(length, past, attention_mask)
        for index, layer in enumerate(self._layers):
            normed = self._normed(hidden, layer.input_norm)
            hidden = hidden + self._attention(normed, layer, index, rotation, mask, past_key_values)
            normed = self._normed(hidden, layer.mlp_norm)
            gated = functional.silu(functional.linear(normed, layer.gate)) * functional.linear(normed, layer.up)
            hidden = hidden + functional.linear(gated, layer.down)
            if between is not None and index + 1 in between:
                between[index + 1] = hidden
        hidden = self._normed(hidden, self._norm)
        # The norm is cheap for all positions; the output matrix is not, so only selected positions enter it.
        chosen = hidden.reshape(-1, hidden.shape[-1]).index_select(0, select).unsqueeze(0)
        return chosen[0], functional.linear(chosen, self.output_matrix)[0]

    def layer_states(
        self, embeddings: torch.Tensor, layers: Sequence[int], select: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        between = dict.fromkeys(layers, embeddings)
        final, _ = self.forward(None, select, embeddings=embeddings, between=between)
        return [between[layer] for layer in layers], final

    def _normed(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = hidden.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.config.rms_norm_eps)
        return weight * wide.to(hidden.dtype)

    def _attention(
        self,
        hidden: torch.Tensor,
        layer: _Layer,
        index: int,
        rotation: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        cache: Any,
    ) -> torch.Tensor:
        batch, length, _ = hidden.shape
        shape = (batch, length, -1, self.config.head_dim)
        query = _rotated(functional.linear(hidden, layer.query).view(shape).transpose(1, 2), rotation)
        key = _rotated(functional.linear(hidden, layer.key).view(shape).transpose(1, 2), rotation)
        value = functional.linear(hidden, layer.value).view(shape).transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, index)
        # The same three cases for grouped queries as in transformers, for bit-equal results.
        grouped = mask is None and self._groups > 1
        if mask is not None and self._groups > 1:
            if length == 1:
                query = query.reshape(batch, -1, self._groups, query.shape[-1])
            else:
                key, value = key.repeat_interleave(self._groups, 1), value.repeat_interleave(self._groups, 1)
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            is_causal=mask is None and length > 1,
            scale=self._scale,
            enable_gqa=grouped,
        )
        attended = attended.reshape(batch, -1, length, attended.shape[-1]).transpose(1, 2)
        return functional.linear(attended.reshape(batch, length, -1), layer.output)


def covers(config: dict[str, Any]) -> bool:
    """Return whether `Llama` computes the same as transformers for a configuration."""
    rope = config.get("rope_parameters") or {}
    needed = ("head_dim", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "rms_norm_eps")
    return (
        all(config.get(key) == value for key, value in COVERED.items())
        and rope.get("rope_type") == "default"
        and "rope_theta" in rope
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and all(key in config for key in needed)
    )


def _rotated(states: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Rotate each pair (i, i + D/2) of the last dimension D by its angle."""
    cos, sin = rotation
    first, second = states.chunk(2, dim=-1)
    return (states * cos) + (torch.cat((-second, first), dim=-1) * sin)


def _mask(length: int, past: int, attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return the attention mask `(B or 1, 1, T, C + T) bool`, or None where plain causal attention does."""
    if attention_mask is not None and bool(attention_mask.all()):
        attention_mask = None
    if attention_mask is None and (length == 1 or past == 0):
        return None
    causal = torch.arange(past + length) <= torch.arange(past, past + length)[:, None]
    if attention_mask is None:
        return causal[None, None]
    return causal[None, None] & attention_mask.bool()[:, None, None, :]
