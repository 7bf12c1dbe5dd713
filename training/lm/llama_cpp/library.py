"""llama.cpp's shared library, loaded once; its error messages are recorded instead of printed."""

from collections import deque
from functools import cache
from typing import Any

from toolken.errors import BackendError

#: llama.cpp's level of an error message.
_ERROR = 3

#: The last error messages, for reports of failures.
_errors: deque[str] = deque(maxlen=8)
#: References to the callbacks given to llama.cpp, which keeps none itself.
_callbacks: list[Any] = []


@cache
def library() -> Any:
    """Load llama.cpp and return its low-level interface.

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
    callback = llama_cpp.llama_log_callback(_record_error)
    _callbacks.append(callback)
    llama_cpp.llama_log_set(callback, None)
    llama_cpp.llama_backend_init()
    return llama_cpp


def _record_error(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR and text.strip():
        _errors.append(text.decode("utf-8", "replace").strip())


def clear_errors() -> None:
    """Drop the recorded error messages."""
    _errors.clear()


def first_error() -> str:
    """Return llama.cpp's first error message since `clear_errors`; later messages are consequences of it."""
    return _errors[0] if _errors else "llama.cpp gives no reason"
