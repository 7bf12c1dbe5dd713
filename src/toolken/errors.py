"""The one error tree of the project: every message says what was wrong, with which value, and what to do."""


class ToolkenError(Exception):
    """Base of every error the project raises on purpose; catching it catches them all.

    Read the message: it names the value and says what to do about it.
    """


class LMNotFoundError(ToolkenError):
    """No language model could be loaded from the id or path that was given.

    Give the folder of a Hugging Face model, a GGUF file or a hub id that can be reached, or nothing for the embedded
    model, which `make setup` installs. The tokenizer must be a fast one and the model a causal one.
    """


class BackendError(ToolkenError):
    """What is to run a language model is not installed, failed, or cannot do what is asked.

    Install what the message names, or choose another backend.
    """


class ExampleError(ToolkenError):
    """An example, or the file it stands in, cannot be used as it is.

    Mend or remove the example: file and line, or its number, are in the message.
    """


class ToolSpecError(ToolkenError):
    """A tool, or a set of tools, cannot be turned into toolkens as it is.

    Give each tool a name of its own, a description that no other tool has, and a JSON schema of an object; name only
    tools that were given.
    """


class HeadError(ToolkenError):
    """A head cannot be read, written or fitted as asked.

    Check the folder or the argument that the message names; fit the head anew where its files are broken.
    """


class FingerprintError(HeadError):
    """A head was fitted with another LM, tokenizer or prompt format than the one it is used with.

    Load the LM that the message names, or fit a head with the LM you have.
    """


class PromptTooLongError(ToolkenError):
    """A prompt does not fit into the LM's context.

    Shorten the conversation, or use an LM with a longer context.
    """


class DataFormatError(ToolkenError):
    """A data folder or file is missing or not in the format that was expected.

    Give the folder in which the published files lie under their published names, with `--data`; file and line are in
    the message.
    """


class ExportError(ToolkenError):
    """A head cannot be exported as a checkpoint, or the folder for it is taken.

    Use an LM of the Llama or Qwen2 family, rename what the message names, or give a new folder.
    """


class ServerError(ToolkenError):
    """A server cannot be reached, has no such model, or cannot do what is asked of it.

    Start the server as the page on serving says, and give its address and the name of its model.
    """
