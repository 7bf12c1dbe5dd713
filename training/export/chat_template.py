"""The chat template: OpenAI's messages written as the one text that a head was fitted for, in Jinja."""

import json
import re
from collections.abc import Sequence
from typing import Any

from toolken.training.export.call_text import DELIMITERS
from toolken.training.export.tokens import ANSWER, BEHIND, TOOL, VIRTUAL
from toolken.training.prompts.prompt_format import MAX_RESULT, PromptFormat

#: What stands in the template for a text in the request.
_QUESTION, _SYSTEM = "{question}", "{system}"

_TEMPLATE = """\
{#- Written by toolken. One turn is a question and an answer that grows; a result stands where its call stood. -#}
{%- set known = @NAMES@ -%}
{%- for tool in tools or [] -%}
  {%- set name = (tool.function or tool).name -%}
  {%- if name not in known -%}
    {{- raise_exception('The tool ' ~ name ~ ' is not part of this checkpoint. Its tools: ' ~ known | join(', ')) -}}
  {%- endif -%}
{%- endfor -%}
{%- if forced_tool is defined and forced_tool and forced_tool not in known -%}
  {{- raise_exception('The tool ' ~ forced_tool ~ ' is not part of this checkpoint.') -}}
{%- endif -%}
{%- macro plain(content) -%}
  {%- if content is string -%}{{- content | trim -}}
  {%- elif content -%}
    {%- for part in content if part is string or part.type == 'text' -%}
      {{- part if part is string else part.text -}}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- macro harmless(content) -%}{{- content@BROKEN@ -}}{%- endmacro -%}
{%- macro line(content) -%}
  {%- set read = content[:@READ@] -%}
  {%- set shown -%}
    {%- if read.isprintable() -%}{{- read -}}
    {%- else -%}{%- for one in read -%}{{- one if one.isprintable() else ' ' -}}{%- endfor -%}{%- endif -%}
  {%- endset -%}
  {%- set joined = shown.split() | join(' ') -%}
  {%- if content | length <= @READ@ and joined | length <= @LONGEST@ -%}{{- joined -}}
  {%- else -%}{{- joined[:@CUT@] ~ '\\u2026' -}}{%- endif -%}
{%- endmacro -%}
{%- set at = namespace(system='', turns='', open=false, question='', answer='', results=false, behind=false) -%}
{%- for message in messages -%}
  {%- set content = harmless(plain(message.content)) | trim -%}
  {%- if message.role in ('system', 'developer') -%}
    {%- set at.system = at.system ~ @SYSTEM@ -%}
  {%- elif message.role in ('tool', 'function') -%}
    {%- set at.open = true -%}
    {%- set at.answer = (at.answer or @OPENING@) ~ (@BETWEEN@ if at.behind else '') ~ ' ' ~ line(content) -%}
    {%- set at.results = true -%}
    {%- set at.behind = true -%}
  {%- elif message.role == 'assistant' -%}
    {%- set at.open = true -%}
    {%- if content -%}
      {%- set before = at.answer | trim -%}
      {%- set grown = not content.startswith(before) or content | length > before | length -%}
      {%- set at.answer = ' ' ~ content if content.startswith(before) else at.answer ~ ' ' ~ content -%}
      {%- set at.behind = at.behind and not grown -%}
    {%- endif -%}
  {%- elif at.open and not at.answer and not at.results -%}
    {%- set at.question = (at.question ~ '\\n' ~ content) | trim -%}
  {%- else -%}
    {%- if at.open -%}{%- set at.turns = at.turns ~ @ASKED@ ~ at.answer ~ @SEPARATOR@ -%}{%- endif -%}
    {%- set at.open = true -%}
    {%- set at.question = content -%}
    {%- set at.answer = '' -%}
    {%- set at.results = false -%}
    {%- set at.behind = false -%}
  {%- endif -%}
{%- endfor -%}
{%- set at.answer = at.answer or @OPENING@ -%}
{{- @BEGINNING@ ~ at.system ~ at.turns ~ @ASKED@ ~ at.answer -}}
{%- if add_generation_prompt -%}
@AHEAD@
{%- if forced_tool is defined and forced_tool -%}
    {%- set forms = @FORMS@ -%}
    {{- '@TOOL_BEGIN@' ~ forced_tool ~ '@TOOL_END@' -}}
    {%- for place in range(@BEHIND@) -%}{{- @VIRTUAL@ -}}{%- endfor -%}
  {%- endif -%}
{%- endif -%}
"""

_BEHIND_RESULTS = "  {%- if at.behind -%}{{- @BETWEEN@ -}}{%- endif -%}"

#: The first number of the question, `\\d+(?:,\\d{3})*(?:\\.\\d+)?`, found without regular expressions.
_LEAD = """\
  {%- set of = namespace(rest='', found=false, number='', more=true) -%}
  {%- for one in at.question -%}
    {%- if not of.found and one.isdecimal() -%}
      {%- set of.found = true -%}
      {%- set of.rest = at.question[loop.index0:] -%}
    {%- endif -%}
  {%- endfor -%}
  {%- for one in of.rest -%}
    {%- set of.more = of.more and one.isdecimal() -%}
    {%- if of.more -%}{%- set of.number = of.number ~ one -%}{%- endif -%}
  {%- endfor -%}
  {%- set of.rest = of.rest[of.number | length:] -%}
  {%- set of.more = true -%}
  {%- for _ in range(12) -%}
    {%- if of.more and of.rest[:1] == ',' and of.rest[1:4] | length == 3 and of.rest[1:4].isdecimal() -%}
      {%- set of.number = of.number ~ of.rest[:4] -%}
      {%- set of.rest = of.rest[4:] -%}
    {%- else -%}{%- set of.more = false -%}{%- endif -%}
  {%- endfor -%}
  {%- if of.rest[:1] == '.' and of.rest[1:2].isdecimal() -%}
    {%- set of.more = true -%}
    {%- set of.number = of.number ~ '.' -%}
    {%- for one in of.rest[1:] -%}
      {%- set of.more = of.more and one.isdecimal() -%}
    {%- if of.more -%}{%- set of.number = of.number ~ one -%}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {%- if at.answer == @OPENING@ and not at.results and of.number -%}{{- ' ' ~ of.number -}}{%- endif -%}"""


def chat_template(
    prompt: PromptFormat, names: Sequence[str], forms: Sequence[int], special: Sequence[str], beginning: str = ""
) -> str:
    """Return the template that writes messages as the agents do.

    Parameters
    ----------
    prompt
        The wording.
    names
        The tools of the checkpoint; others are refused.
    forms
        The form of each tool's arguments: its number in the virtual tokens that follow a call.
    special
        Texts of special tokens; where a message has one it is broken up, so that nobody can pose as the model.
    beginning
        What the LM's tokenizer puts in front of every text.
    """
    begin, end = TOOL.split("{name}")
    virtual = VIRTUAL.partition("{form}")[0]
    ahead = "" if prompt.everywhere or not prompt.between else _BEHIND_RESULTS
    if prompt.lead and not prompt.everywhere:
        ahead = f"{ahead}\n{_LEAD}" if ahead else _LEAD
    broken = "".join(
        f".replace({_quoted(one)}, {_quoted(one[:1] + ' ' + one[1:])})" for one in [begin, virtual, *special]
    )
    values = {
        "AHEAD": ahead,
        "NAMES": json.dumps(list(names)),
        "BROKEN": broken,
        "READ": str(4 * MAX_RESULT),
        "LONGEST": str(MAX_RESULT),
        "CUT": str(MAX_RESULT - 1),
        "SYSTEM": _filled(prompt.system, _SYSTEM, "content"),
        "OPENING": _quoted(prompt.opening),
        "BETWEEN": _quoted(prompt.between),
        "ASKED": _filled(prompt.question, _QUESTION, "at.question"),
        "SEPARATOR": _quoted(prompt.separator),
        "BEGINNING": _quoted(beginning + prompt.preamble),
        "FORMS": json.dumps(dict(zip(names, forms, strict=True))),
        "BEHIND": str(BEHIND),
        "VIRTUAL": _virtual(),
        "TOOL_BEGIN": begin,
        "TOOL_END": end,
    }
    text = _TEMPLATE
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def response_template(prompt: PromptFormat, ends: Sequence[str]) -> dict[str, Any]:
    """Return how what the checkpoint writes becomes a message: content, and calls with their arguments.

    The opening of an answer stands in the prompt and is part of the content all the same, as it is of the agents'
    messages; of an answer that stands behind results the content is what is written out.

    Parameters
    ----------
    ends
        Texts of the tokens that end an answer.
    """
    begin, end = (re.escape(one) for one in TOOL.split("{name}"))
    behind = re.escape(VIRTUAL.format(form=0, place=0)).replace("0", r"\d+")
    behind = f"(?:{behind}){{{BEHIND}}}"
    close = "|".join([*(re.escape(one) for one in ends), *(re.escape(one) for one in prompt.stop)])
    asked = re.escape(prompt.question.rpartition(_QUESTION)[2])
    opening = prompt.opening
    if opening.strip() and asked:
        # The last match counts: either the text ends with the opening, or all of it is behind us.
        gap = re.escape(opening[: len(opening) - len(opening.lstrip())])
        words = re.escape(opening.lstrip())
        anchor = rf"{asked}{gap}(?={words}\Z)|(?<!{asked}{gap}{words})\Z"
    else:
        anchor = r"\Z"
    return {
        "defaults": {"role": "assistant"},
        "start_anchor_pattern": anchor,
        "fields": {
            "tool_calls": {
                "open_pattern": rf"{begin}(?P<name>[^<>\s]+){end}{behind}",
                "close_pattern": close,
                "repeats": True,
                "content": "json",
                "content_args": {"allow_non_json": True, "string_delims": DELIMITERS},
                "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
            },
            # What follows these tokens is the whole answer; they themselves are nobody's concern.
            "chain_end": {"open_pattern": re.escape(ANSWER) + behind, "close": " ", "content": "text"},
            "content": {"close_pattern": close, "content": "text"},
        },
    }


def _virtual() -> str:
    """Return an expression of Jinja for a virtual token of the forced tool."""
    before, _, rest = VIRTUAL.partition("{form}")
    between, _, end = rest.partition("{place}")
    return f"{_quoted(before)} ~ forms[forced_tool] ~ {_quoted(between)} ~ place ~ {_quoted(end)}"


def _quoted(text: str) -> str:
    """Return a text as a literal of Jinja."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{escaped}'"


def _filled(text: str, hole: str, value: str) -> str:
    """Return an expression of Jinja for a text with a hole."""
    return "(" + " ~ ".join(_interleaved([_quoted(part) for part in text.split(hole)], value)) + ")"


def _interleaved(parts: Sequence[str], value: str) -> list[str]:
    found = [parts[0]]
    for part in parts[1:]:
        found += [value, part]
    return found
