"""`LazyModel`: the LM, the head and their caches, loaded at the first use."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from langchain_core.language_models import ModelProfile

from toolken.agents.bound_tools import BoundTools
from toolken.agents.decoding.decoder import Decoder
from toolken.agents.decoding.toolset import Toolkens
from toolken.agents.errors import OptionError
from toolken.agents.grammar.schema_grammar import check_schema
from toolken.training.head.toolken_head import ToolkenHead
from toolken.training.lm import Backend, FrozenLM
from toolken.training.lm.embedded import EMBEDDED, cache_folder
from toolken.training.lm.prefix_cache import PrefixCache
from toolken.training.prior.pretrained import PretrainedPrior
from toolken.training.prior.shipped import shipped_prior
from toolken.training.prompts.conversation_format import FORMAT_NAMES, ConversationFormat, FormatName, named_format
from toolken.training.prompts.prompt_format import PromptFormat

#: New schemas that are compiled when tools are bound; of many thousands, the others are compiled at the first call.
COMPILED_AT_ONCE = 100

#: A pretrained prior or its folder, or False for none.
PriorChoice = PretrainedPrior | str | Path | Literal[False]


class LazyModel:
    """What a chat model or an agent decodes with.

    Parameters
    ----------
    lm
        The LM, where to load it from, or None for the head's and otherwise the embedded one.
    head
        A head, its folder, or None for toolkens from descriptions alone.
    backend
        What runs an LM that is not loaded yet.
    by_name
        Whether a tool is the head's if it has the same name, whatever its description.
    load_options
        Further arguments of `FrozenLM.from_pretrained`, such as `device` and `dtype`.
    form
        The format of conversations, or its name; a head has its own.
    prior
        A pretrained prior or its folder, for tools known by their descriptions alone. None: the one that comes with
        toolken for this LM, if there is one; False: none.

    Raises
    ------
    OptionError
        If `lm` or `head` is something else, there is no such format, or both a head and a prior are given.
    """

    def __init__(
        self,
        lm: FrozenLM | str | Path | None,
        head: ToolkenHead | str | Path | None,
        *,
        backend: Backend = "transformers",
        by_name: bool = False,
        load_options: Mapping[str, Any] | None = None,
        form: ConversationFormat | FormatName | None = None,
        prior: PriorChoice | None = None,
    ) -> None:
        _check_kinds(lm, head)
        if head is not None and prior:
            raise OptionError("`head` and `prior` exclude each other: a head has its own prior, so drop `prior`.")
        if isinstance(form, str) and form not in FORMAT_NAMES:
            raise OptionError(f"There is no format {form!r}: name one of {', '.join(FORMAT_NAMES)}.")
        self.form = form
        self.prior = prior
        self._prior: PretrainedPrior | None = None
        self._prompt: ConversationFormat | None = None
        self.given = (lm, head, backend)
        self.load_options = dict(load_options or {})
        self._by_name = by_name
        self._lock = threading.RLock()
        self._lm = lm if isinstance(lm, FrozenLM) else None
        self._head = head if isinstance(head, ToolkenHead) else None
        self._toolkens: Toolkens | None = None
        self._texts: PrefixCache | None = None
        self._checked: set[str] = set()
        #: The head's large parts and their digest: hashing them takes longer than many an answer.
        self._digest: tuple[tuple[Any, ...], str] | None = None

    def is_of(
        self,
        lm: FrozenLM | str | Path | None,
        head: ToolkenHead | str | Path | None,
        backend: Backend,
        load_options: Mapping[str, Any],
        form: ConversationFormat | FormatName | None = None,
        prior: PriorChoice | None = None,
    ) -> bool:
        """Tell whether these are the arguments it was made with: the same objects, and equal names and options."""
        same = all(
            mine is yours or (isinstance(mine, str | Path) and mine == yours)
            for mine, yours in zip(self.given, (lm, head, backend), strict=True)
        )
        same = same and (self.prior is prior or (isinstance(prior, str | Path) and self.prior == prior))
        return same and self.load_options == dict(load_options) and self.form == form

    @property
    def lm(self) -> FrozenLM:
        """The LM; loaded at the first use.

        Raises
        ------
        LMNotFoundError
            If it cannot be loaded.
        BackendError
            If its backend is not installed.
        """
        with self._lock:
            if self._lm is None:
                given, _, backend = self.given
                head = self.head
                assert not isinstance(given, FrozenLM)
                name = str(given) if given else head.lm_name if head else None
                self._lm = FrozenLM.from_pretrained(name, backend=backend, **self.load_options)
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
    def prompt(self) -> ConversationFormat:
        """The format of conversations: the head's, or the one that was asked for; the LM may be loaded for it.

        Raises
        ------
        OptionError
            If the head has another format than the one that was asked for.
        TemplateError
            If a chat template was asked for and the LM has none.
        """
        with self._lock:
            if self._prompt is None:
                head = self.head
                if head is not None:
                    _check_format(self.form, head)
                    self._prompt = head.prompt
                elif self.form is None or isinstance(self.form, str):
                    self._prompt = named_format(self.form or "auto", self.lm)
                else:
                    self._prompt = self.form
            return self._prompt

    @property
    def lm_name(self) -> str:
        """The LM's name; the LM is not loaded for it.

        Raises
        ------
        HeadError
            If the head, which names the LM, cannot be read.
        """
        if self._lm is not None:
            return self._lm.name
        if self.given[0]:
            return str(self.given[0])
        head = self.head
        return head.lm_name if head is not None else EMBEDDED

    def decoder(self, tools: BoundTools) -> Decoder:
        """Return the decoder of turns in which the tools may be called.

        Raises
        ------
        ToolkenError
            If the LM or the head cannot be loaded, they do not belong together, or a tool cannot be used.
        """
        with self._lock:
            if self._toolkens is None or self._texts is None:
                prior = self._prior_of(self.lm)
                self._toolkens = Toolkens(self.lm, self.head, prior=prior, by_name=self._by_name, prompt=self.prompt)
                self._texts = PrefixCache(self.lm)
        return Decoder(self._toolkens.of(tools), self._texts)

    def check(self, tools: BoundTools) -> None:
        """Make sure that the tools' arguments can be written, as far as this takes milliseconds; nothing is loaded.

        Each schema is compiled once, at most `COMPILED_AT_ONCE` per call.

        Raises
        ------
        ToolSpecError
            If a schema cannot be compiled to a grammar.
        """
        specs = [] if self._head is None else self._head.specs
        index = {} if self._head is None else self._head.index
        compiled = 0
        for spec in tools.specs:
            at = index.get(spec.name)
            if spec.digest in self._checked or (at is not None and specs[at].parameters == spec.parameters):
                continue
            if compiled == COMPILED_AT_ONCE:
                return
            check_schema(spec)
            self._checked.add(spec.digest)
            compiled += 1

    def forget(self) -> None:
        """Drop the KV caches of all earlier texts."""
        if self._texts is not None:
            self._texts.clear()

    def profile(self) -> ModelProfile:
        """Return the model's abilities as LangChain's profile; nothing is loaded for it."""
        # Without `structured_output`: with it, `create_agent` would request JSON text instead of a call.
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
        """Return the longest context in tokens, or None if it is known only after loading the LM."""
        if self._lm is not None:
            return self._lm.max_length
        if not self.given[0] and self._head is None and self.given[1] is not None:
            return None  # only the head names the LM
        folder = cache_folder() / "models" / EMBEDDED if self.lm_name == EMBEDDED else Path(self.lm_name)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        # Multimodal models keep the settings of their language model in `text_config`.
        length = {**config, **(config.get("text_config") or {})}.get("max_position_embeddings")
        return length if isinstance(length, int) else None

    def _prior_of(self, lm: FrozenLM) -> PretrainedPrior | None:
        """Return the prior, read at the first use; None where a head or the LM's own states decide."""
        with self._lock:
            if self._prior is None and self.head is None and self.prior is not False:
                if self.prior is None:
                    self._prior = shipped_prior(lm)
                elif isinstance(self.prior, PretrainedPrior):
                    self._prior = self.prior
                else:
                    self._prior = PretrainedPrior.from_pretrained(self.prior, lm)
            return self._prior

    def identity(self) -> dict[str, Any]:
        """Return what distinguishes this LM and head in caches of answers; large tensors are hashed once per head."""
        lm, head = self.lm, self.head
        identity: dict[str, Any] = {
            "model_name": lm.name,
            "lm": lm.fingerprint,
            "number_format": lm.number_format,
        }
        if head is None:
            form = self.prompt
            prior = self._prior_of(lm)
            identity |= {} if prior is None else {"prior": prior.digest}
            return identity if form == PromptFormat() else identity | {"prompt": form.fingerprint}
        large = (head.output_embeddings, head.biases, head.gate, head.few_shot.states)
        with self._lock:
            if self._digest is None or any(a is not b for a, b in zip(self._digest[0], large, strict=True)):
                digest = hashlib.sha256()
                _update(digest, (*large, head.names, [one.model_dump_json() for one in head.few_shot.shown]))
                self._digest = large, digest.hexdigest()[:32]
        return identity | {
            "head": self._digest[1],
            "threshold": head.threshold,
            "prompt": head.prompt.fingerprint,
        }


def _update(digest: Any, value: Any) -> None:
    """Hash tensors, and what dataclasses, sequences and mappings have of them."""
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            _update(digest, getattr(value, one.name))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _update(digest, part)
    else:
        digest.update(repr(value).encode())


def _check_format(form: ConversationFormat | FormatName | None, head: ToolkenHead) -> None:
    if form is None:
        return
    name = "question" if isinstance(head.prompt, PromptFormat) else "chat"
    same = form in ("auto", name) if isinstance(form, str) else form.fingerprint == head.prompt.fingerprint
    if not same:
        asked = repr(form) if isinstance(form, str) else f"a {type(form).__name__}"
        raise OptionError(
            f"`format` is {asked}, and the head was fitted with the format {name!r}: drop `format`, or fit the head "
            "again with `fit(..., prompt=...)`."
        )


def _check_kinds(lm: Any, head: Any) -> None:
    if isinstance(lm, ToolkenHead) or isinstance(head, FrozenLM):
        raise OptionError("`lm` and `head` are swapped: the LM comes first, then the head.")
    if not isinstance(lm, FrozenLM | str | Path | None):
        cure = "wrap it as `FrozenLM(model, tokenizer, name)`" if isinstance(lm, torch.nn.Module) else "give an LM"
        raise OptionError(f"`lm` is a {type(lm).__name__}: {cure}, or a folder, a GGUF file or a hub id.")
    if not isinstance(head, ToolkenHead | str | Path | None):
        raise OptionError(f"`head` is a {type(head).__name__}: give a ToolkenHead, the folder of one, or None.")
