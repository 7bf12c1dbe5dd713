"""LangChain tools for the operations of an OpenAPI 3 file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import yaml
from langchain_core.tools import BaseTool, StructuredTool

from toolken.tools.errors import OpenApiError, ToolError

READ_ONLY = ("get", "head")
METHODS = (*READ_ONLY, "post", "put", "patch", "delete", "options")


def openapi_tools(
    path: str | Path, *, base_url: str | None = None, headers: dict[str, str] | None = None, timeout: float = 30.0
) -> list[BaseTool]:
    """Return one tool per operation of an OpenAPI 3 file, in JSON or YAML.

    A tool's metadata has `side_effects`: whether the method is other than GET and HEAD.

    Parameters
    ----------
    path
        The file. References must point inside it.
    base_url
        Address of the API; by default the first of the file's `servers`.
    headers
        Headers of every request, such as an authorization.
    timeout
        Seconds after which a request fails.

    Raises
    ------
    OpenApiError
        If the file cannot be read, has no operation, or has two operations of one name.
    """
    document = _read(Path(path))
    servers = document.get("servers") or [{}]
    try:
        base = base_url or str(servers[0].get("url", ""))
    except (AttributeError, KeyError) as error:
        raise OpenApiError(f"{path} has `servers` other than a list of objects with `url`.") from error
    if urlsplit(base).scheme not in ("http", "https"):
        raise OpenApiError(f"{path} has no absolute server address, only {base!r}: give base_url.")
    tools: dict[str, BaseTool] = {}
    try:
        for route, method, operation in _operations(document):
            tool = _tool(document, route, method, operation, base.rstrip("/"), headers or {}, timeout)
            if tool.name in tools:
                raise OpenApiError(f"{path} has two operations named {tool.name!r}: give each its own operationId.")
            tools[tool.name] = tool
    except (AttributeError, KeyError, TypeError) as error:
        raise OpenApiError(f"{path} does not have the structure of an OpenAPI 3 file: {error}.") from error
    if not tools:
        raise OpenApiError(f"{path} has no operations: list at least one under `paths`.")
    return list(tools.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError) as error:
        raise OpenApiError(f"The OpenAPI file {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise OpenApiError(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(document, dict) or not str(document.get("openapi", "")).startswith("3."):
        raise OpenApiError(f"{path} is not an OpenAPI 3 file: its `openapi` must be a version such as 3.1.0.")
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for route, raw in (document.get("paths") or {}).items():
        item = _resolved(document, raw)
        for method in METHODS:
            if method in item:
                own = {(p["in"], p["name"]): p for p in item[method].get("parameters", [])}
                shared = {(p["in"], p["name"]): p for p in item.get("parameters", [])}
                yield route, method, item[method] | {"parameters": list((shared | own).values())}


def _resolved(document: dict[str, Any], value: Any, seen: tuple[str, ...] = ()) -> Any:
    """Return a value with its references replaced by what they point to."""
    if isinstance(value, list):
        return [_resolved(document, item, seen) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref")
    if not isinstance(reference, str):
        return {key: _resolved(document, item, seen) for key, item in value.items()}
    if reference in seen:
        raise OpenApiError(f"The schema {reference} contains itself: recursive schemas are not supported.")
    target: Any = document
    for step in reference.removeprefix("#/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not reference.startswith("#/") or not isinstance(target, dict) or key not in target:
            raise OpenApiError(f"The reference {reference!r} does not point inside the file.")
        target = target[key]
    return _resolved(document, target, (*seen, reference))


def _tool(
    document: dict[str, Any],
    route: str,
    method: str,
    operation: dict[str, Any],
    base: str,
    headers: dict[str, str],
    timeout: float,
) -> BaseTool:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", operation.get("operationId") or f"{method}{route}").strip("_")
    properties: dict[str, Any] = {}
    places: dict[str, str] = {}
    required: list[str] = []
    for parameter in operation["parameters"]:
        key = parameter["name"]
        if key in places:
            raise OpenApiError(f"The operation {name!r} has two parameters named {key!r}: rename one.")
        described = {"description": parameter["description"]} if "description" in parameter else {}
        properties[key], places[key] = parameter.get("schema", {"type": "string"}) | described, parameter["in"]
        if parameter.get("required"):
            required.append(key)
    body = operation.get("requestBody", {})
    if body:
        schema = next((m.get("schema", {}) for t, m in body.get("content", {}).items() if "json" in t), None)
        if schema is None:
            raise OpenApiError(f"The operation {name!r} takes no JSON body: other bodies are not supported.")
        if "body" in places:
            raise OpenApiError(f"The operation {name!r} has a body and a parameter named 'body': rename the parameter.")
        properties["body"], places["body"] = schema, "body"
        if body.get("required"):
            required.append("body")

    def call(**arguments: Any) -> str:
        sent: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}, "body": {}}
        for key, value in arguments.items():
            if key not in places:
                raise ToolError(f"There is no argument {key}: leave it out.")
            if value is not None:
                sent[places[key]][key] = value
        for key in required:
            if key not in sent[places[key]]:
                raise ToolError(f"The argument {key} is missing: give it.")
        address = route
        for key, value in sent["path"].items():
            if str(value) in ("", ".", ".."):
                raise ToolError(f"The argument {key} cannot be {str(value)!r}: give a name or number.")
            address = address.replace("{" + key + "}", quote(_text(value), safe=""))
        texts = {key: _text(value) for key, value in sent["header"].items()}
        cookies = "; ".join(f"{key}={_text(value)}" for key, value in sent["cookie"].items())
        try:
            answer = httpx.request(
                method.upper(),
                base + address,
                params=sent["query"] or None,
                headers=headers | texts | ({"Cookie": cookies} if cookies else {}),
                timeout=timeout,
                **({"json": sent["body"]["body"]} if sent["body"] else {}),
            )
        except httpx.HTTPError as error:
            raise ToolError(f"The request to {base} failed: {error}.") from error
        if answer.is_error:
            raise ToolError(f"The API answered {answer.status_code} {answer.reason_phrase}: {answer.text[:300]}")
        return answer.text or f"{answer.status_code} {answer.reason_phrase}"

    return StructuredTool(
        name=name[:64],
        description=operation.get("description") or operation.get("summary") or f"{method.upper()} {route}",
        args_schema={"title": name, "type": "object", "properties": properties, "required": required},
        func=call,
        handle_tool_error=True,
        metadata={"side_effects": method not in READ_ONLY},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
