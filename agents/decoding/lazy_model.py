"""`LazyModel`: the LM, the head and what is remembered between calls, loaded when they are first needed."""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from langchain_core.language_models import ModelProfile

from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.decoder import Decoder
from toolken.agents.decoding.toolset import Toolkens
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import Backend, FrozenLM
from toolken.training.lm.embedded import EMBEDDED, cache_folder
from toolken.training.lm.prefix_cache import PrefixCache


class LazyModel:
    """What a chat model or an agent writes with.

    Parameters
    ----------
    lm
        The LM, where to load it from, or None for the head's and otherwise the embedded one.
    head
        A head, the folder of one, or None for toolkens from descriptions alone.
    backend
        What runs an LM that is not loaded yet.
    by_name
        Whether a tool is the head's because it has the same name, whatever its description.
    """

    def __init__(
        self,
        lm: FrozenLM | str | Path | None,
        head: ToolkenHead | str | Path | None,
        *,
        backend: Backend = "transformers",
        by_name: bool = False,
    ) -> None:
        self.given = (lm, head, backend)
        self._by_name = by_name
        self._lock = threading.RLock()
        self._lm = lm if isinstance(lm, FrozenLM) else None
        self._head = head if isinstance(head, ToolkenHead) else None
        self._toolkens: Toolkens | None = None
        self._texts: PrefixCache | None = None

    @property
    def lm(self) -> FrozenLM:
        """The LM; loaded at the first use.

        Raises
        ------
        LMNotFoundError
            If it cannot be loaded.
        BackendError
            If what is to run it is not installed.
        """
        with self._lock:
            if self._lm is None:
                given, _, backend = self.given
                head = self.head
                assert not isinstance(given, FrozenLM)
                name = str(given) if given else head.lm_name if head else None
                self._lm = FrozenLM.from_pretrained(name, backend=backend)
            return self._lm

    @property
    def head(self) -> ToolkenHead | None:
        """The head, if there is one; read at the first use.

        Raises
        ------
        HeadError
            If it cannot be read.
        """
        with self._lock:
            given = self.given[1]
            if self._head is None and given is not None:
                assert not isinstance(given, ToolkenHead)
                self._head = ToolkenHead.from_pretrained(given)
            return self._head

    @property
    def lm_name(self) -> str:
        """How the LM is called; it is not loaded for this."""
        if self._lm is not None:
            return self._lm.name
        given = self.given[0]
        return str(given) if given else self._head.lm_name if self._head is not None else EMBEDDED

    def decoder(self, tools: BoundTools) -> Decoder:
        """Return what writes turns in which some tools may be called.

        Raises
        ------
        ToolkenError
            If the LM or the head cannot be loaded, they do not belong together, or a tool cannot be used.
        """
        with self._lock:
            if self._toolkens is None or self._texts is None:
                self._toolkens = Toolkens(self.lm, self.head, by_name=self._by_name)
                self._texts = PrefixCache(self.lm)
        return Decoder(self._toolkens.of(tools), self._texts)

    def forget(self) -> None:
        """Drop the KV caches of all earlier texts."""
        if self._texts is not None:
            self._texts.clear()

    def profile(self) -> ModelProfile:
        """Return what the model can do, as LangChain asks for it; nothing is loaded for this."""
        # Without `structured_output`: it would make `create_agent` ask for JSON in the text instead of a call.
        profile = ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            pdf_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            tool_calling=True,
            tool_choice=True,
            tool_call_streaming=True,
        )
        length = self._max_length()
        if length is not None:
            profile["max_input_tokens"] = length
        return profile

    def _max_length(self) -> int | None:
        """Return the longest context in tokens, or None where only loading the LM would tell."""
        if self._lm is not None:
            return self._lm.max_length
        folder = cache_folder() / "models" / EMBEDDED if self.lm_name == EMBEDDED else Path(self.lm_name)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        # A model that also sees or hears keeps the settings of its language model apart.
        length = {**config, **(config.get("text_config") or {})}.get("max_position_embeddings")
        return length if isinstance(length, int) else None

    def identity(self) -> dict[str, Any]:
        """Return what tells this LM and head from others, for caches of answers."""
        lm, head = self.lm, self.head
        if head is None:
            return {"model_name": lm.name, "lm": lm.fingerprint}
        rows = hashlib.sha256(head.output_embeddings.numpy().tobytes() + head.biases.numpy().tobytes()).hexdigest()[:32]
        return {
            "model_name": lm.name,
            "lm": lm.fingerprint,
            "head": rows,
            "threshold": head.threshold,
            "prompt": head.prompt.fingerprint,
        }
