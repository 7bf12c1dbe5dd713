"""Tools from OpenAPI files, called against a local HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolken.tools.errors import OpenApiError
from toolken.tools.openapi import openapi_tools


class Echo(BaseHTTPRequestHandler):
    """Answers with the request itself; 404 under /missing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        text = json.dumps({"method": self.command, "path": self.path, "body": body, "token": self.headers.get("Token")})
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
API: dict[str, Any] = {
    "openapi": "3.1.0",
    "paths": {
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/id"}],
            "get": {
                "operationId": "get_pet",
                "summary": "Look up a pet.",
                "parameters": [{"name": "full", "in": "query", "schema": {"type": "boolean"}}],
            },
            "delete": {"operationId": "delete_pet"},
        },
        "/pets": {
            "post": {
                "operationId": "add pet",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}},
                },
            }
        },
        "/missing": {"get": {}},
    },
    "components": {
        "parameters": {"id": ID},
        "schemas": {"Pet": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}


def written(folder: Path, document: Any, name: str = "api.yaml") -> Path:
    path = folder / name
    path.write_text(
        json.dumps(document) if name.endswith("json") else yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("name", ["api.yaml", "api.json"])
def test_operations_become_tools_that_send_path_query_and_body(tmp_path: Path, address: str, name: str) -> None:
    api = API | {"servers": [{"url": address}]}
    tools = {tool.name: tool for tool in openapi_tools(written(tmp_path, api, name), headers={"Token": "t"})}
    assert list(tools) == ["get_pet", "delete_pet", "add_pet", "get_missing"]
    sent = json.loads(tools["get_pet"].invoke({"id": "a/b c", "full": True}))
    assert sent == {"method": "GET", "path": "/pets/a%2Fb%20c?full=true", "body": "", "token": "t"}
    sent = json.loads(tools["add_pet"].invoke({"body": {"name": "Rex"}}))
    assert (sent["method"], json.loads(sent["body"])) == ("POST", {"name": "Rex"})
    assert tools["add_pet"].args["body"]["properties"] == {"name": {"type": "string"}}
    assert {tool.name: tool.metadata for tool in tools.values()} == {
        "get_pet": {"side_effects": False},
        "delete_pet": {"side_effects": True},
        "add_pet": {"side_effects": True},
        "get_missing": {"side_effects": False},
    }
    assert tools["get_missing"].invoke({}).startswith("The API answered 404 Not Found")
    assert tools["get_pet"].invoke({}) == "The argument id is missing: give it."
    assert "cannot be '..'" in tools["delete_pet"].invoke({"id": ".."})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"swagger": "2.0"}, "not an OpenAPI 3 file"),
        ([], "not an OpenAPI 3 file"),
        ({"openapi": "3.0.0", "paths": {}}, "no operations"),
        ({"openapi": "3.0.0", "paths": {"/a": {"get": {"operationId": "x"}, "post": {"operationId": "x"}}}}, "two op"),
        ({"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/nowhere"}}}, "does not point inside"),
        ({"openapi": "3.0.0", "paths": {"/a": {"$ref": "#/paths/~1a"}}}, "contains itself"),
        ({"openapi": "3.0.0", "paths": ["/a"]}, "does not have the structure"),
        ({"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": [{"in": "query"}]}}}}, "does not have the struct"),
        ({"openapi": "3.0.0", "paths": {"/a": {"get": None}}}, "does not have the structure"),
        ({"openapi": "3.0.0", "servers": {"url": "x"}, "paths": {}}, "`servers` other than"),
    ],
)
def test_files_that_are_no_tools_are_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(OpenApiError, match=message):
        openapi_tools(written(tmp_path, document), base_url=None if "servers" in document else "http://localhost")


def test_unreadable_files_and_missing_addresses_are_named(tmp_path: Path) -> None:
    with pytest.raises(OpenApiError, match="cannot be read"):
        openapi_tools(tmp_path / "none.yaml")
    (tmp_path / "broken.json").write_text('{"openapi": ', encoding="utf-8")
    with pytest.raises(OpenApiError, match="neither JSON nor YAML"):
        openapi_tools(tmp_path / "broken.json")
    with pytest.raises(OpenApiError, match="give base_url"):
        openapi_tools(written(tmp_path, API))
