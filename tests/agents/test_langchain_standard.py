"""LangChain's standard tests of a chat model, all of them, on the embedded LM."""

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from toolken import FrozenLM, ToolkenChatModel

# With toolkens from descriptions alone: none of the tools that these tests bind has ever been seen.


class _Embedded:
    """The properties of the model that both classes of tests need."""

    lm: FrozenLM

    @pytest.fixture(autouse=True)
    def _share_the_lm(self, embedded_lm: FrozenLM) -> None:
        type(self).lm = embedded_lm

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ToolkenChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"lm": self.lm}

    @property
    def has_tool_calling(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        return True

    @property
    def has_structured_output(self) -> bool:
        return True

    @property
    def supports_json_mode(self) -> bool:
        # Whatever method is named, the object is written under its schema's grammar.
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        # One object holds one LM.
        return False


class TestEmbeddedUnit(_Embedded, ChatModelUnitTests):
    """Tests that ask nothing of the LM."""


class TestEmbeddedIntegration(_Embedded, ChatModelIntegrationTests):
    """Tests that the LM has to answer."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"lm": self.lm, "max_tokens": 48}
