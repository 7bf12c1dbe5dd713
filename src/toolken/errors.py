"""The one error tree of the project: every message says what was wrong, with which value, and what to do."""


class ToolkenError(Exception):
    """Base of every error the project raises on purpose; catching it catches them all."""


class LMNotFoundError(ToolkenError):
    """No language model could be loaded from the id or path that was given."""


class EngineError(ToolkenError):
    """What is to run a language model is not installed, failed, or cannot do what is asked."""


class ExampleError(ToolkenError):
    """An example, or the file it stands in, cannot be used as it is."""


class ToolSpecError(ToolkenError):
    """A tool, or a set of tools, cannot be turned into toolkens as it is."""


class HeadError(ToolkenError):
    """A head cannot be read, written or fitted as asked."""


class FingerprintError(HeadError):
    """A head was fitted with another LM, tokenizer or prompt format than the one it is used with."""


class PromptTooLongError(ToolkenError):
    """A prompt does not fit into the LM's context."""


class DataFormatError(ToolkenError):
    """A data folder or file is missing or not in the format that was expected."""
