"""`OneEntryCache`: keeps the last of some values that take much memory, such as heads with their answers."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class OneEntryCache:
    """A cache of one entry, for values that take much memory."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any] | None = None

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; a new key replaces the entry by `make()`."""
        if self._made is None or self._made[0] != key:
            self._made = None
            self._made = key, make()
        found: T = self._made[1]
        return found
