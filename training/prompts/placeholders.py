"""`Placeholders`: a chat template is rendered with placeholders in place of all content, which is then put in."""

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from toolken.training.lm.marked_text import MarkedText

#: A fresh name in each process, so that no content can contain a placeholder.
_NONCE = secrets.token_hex(8)
#: White space that no template writes; a template that strips its contents removes it.
_EDGE = "\u2003"
_EDGE_PATTERN = r"(?:\u2003|\\u2003)?"
_PLACEHOLDER = re.compile(rf'({_EDGE_PATTERN})q{_NONCE}(\\*)"(\d+)q({_EDGE_PATTERN})')
#: Texts that cannot contain a special token: words, white space and punctuation without brackets and bars.
_HARMLESS = re.compile(r"[\w\s!-;=?@^_`~]*", re.ASCII)


@dataclass
class Placeholders:
    """The contents of one rendering, each of which has a placeholder.

    A placeholder contains a quotation mark, so the rendered text shows whether the template wrote it as JSON, and is
    surrounded by white space, so it shows whether the template stripped it. Templates see no content, hence no content
    can change what they write.
    """

    contents: list[str] = field(default_factory=list)
    required: set[int] = field(default_factory=set)

    def of(self, content: str, *, required: bool = True) -> str:
        """Return the placeholder of a content; empty content stays empty.

        Parameters
        ----------
        required
            Whether the template has to write it.
        """
        if not content:
            return ""
        number = len(self.contents)
        self.contents.append(content)
        if required and content.strip():
            self.required.add(number)
        return f'{_EDGE}q{_NONCE}"{number}q{_EDGE}'

    def within(self, value: Any) -> Any:
        """Return JSON data with placeholders for all strings that might contain a special token."""
        if isinstance(value, dict):
            return {self.within(key): self.within(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.within(one) for one in value]
        if isinstance(value, str) and not _HARMLESS.fullmatch(value):
            return self.of(value)
        return value

    def filled(self, rendered: str) -> MarkedText | None:
        """Return a rendered text with the contents put in, or None if one is missing."""
        found = {int(match[3]) for match in _PLACEHOLDER.finditer(rendered)}
        if not self.required <= found:
            return None
        text, spans, last = "", [], 0
        for match in _PLACEHOLDER.finditer(rendered):
            text += rendered[last : match.start()]
            content = self._content(match)
            spans.append((len(text), len(text) + len(content)))
            text += content
            last = match.end()
        return MarkedText(text + rendered[last:], tuple(spans))

    def _content(self, match: re.Match[str]) -> str:
        content = self.contents[int(match[3])]
        content = content if match[1] else content.lstrip()
        content = content if match[4] else content.rstrip()
        ascii_only = "\\" in match[1] + match[4]
        for _ in range(len(match[2]).bit_length()):  # one backslash per string of JSON, three in a nested one
            content = json.dumps(content, ensure_ascii=ascii_only)[1:-1]
        return content


def end_of(content: str, rendered: str) -> int:
    """Return the offset after the last occurrence of a placeholder, or -1."""
    found = [match for match in _PLACEHOLDER.finditer(rendered) if match[0].strip(_EDGE) == content.strip(_EDGE)]
    return found[-1].end() if found else -1
