"""llama.cpp's library: found, made ready once, and its messages kept instead of printed."""

from collections import deque
from functools import cache
from typing import Any

from toolken.errors import BackendError

#: llama.cpp's level of an error message.
_ERROR = 3

#: The last error messages, for the sentence that reports a failure.
_errors: deque[str] = deque(maxlen=8)


@cache
def library() -> Any:
    """Return llama.cpp's low-level interface.

    Raises
    ------
    BackendError
        If it is not installed, or cannot be loaded.
    """
    try:
        from llama_cpp import llama_cpp
    except ImportError as error:
        raise BackendError(
            "The backend llama.cpp is not installed: run `pip install 'toolken[llamacpp]'`, which compiles it for some "
            f"minutes and needs cmake and a C++ compiler ({error})."
        ) from error
    except (OSError, RuntimeError) as error:
        raise BackendError(
            "llama.cpp is installed, but its library cannot be loaded: install it again with `pip install "
            f"--force-reinstall --no-deps llama-cpp-python` ({str(error).splitlines()[0]})."
        ) from error
    # The library holds no reference to a callback.
    llama_cpp.toolken_log_callback = callback = llama_cpp.llama_log_callback(_keep_error)
    llama_cpp.llama_log_set(callback, None)
    llama_cpp.llama_backend_init()
    return llama_cpp


def _keep_error(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR and text.strip():
        _errors.append(text.decode("utf-8", "replace").strip())


def forget_errors() -> None:
    """Drop the messages of what came before."""
    _errors.clear()


def first_error() -> str:
    """Return llama.cpp's first error message since they were dropped, which is the cause of those that follow."""
    return _errors[0] if _errors else "llama.cpp gives no reason"
