"""Swagger UI from the package: nothing is loaded from elsewhere, so it works offline."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

PATH = "/api/v1/docs/"
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


def add_docs(app: FastAPI, base: str) -> None:
    assets: Traversable = files("fastapi_offline") / "static"

    @app.get(PATH, include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=f"{base}/openapi.json",
            title="mbk",
            swagger_js_url=f"{base}{PATH}swagger-ui-bundle.js",
            swagger_css_url=f"{base}{PATH}swagger-ui.css",
            swagger_favicon_url=f"{base}{PATH}favicon.png",
        )

    @app.get(f"{PATH}doc.json", include_in_schema=False)
    def description() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get(PATH.rstrip("/"), include_in_schema=False)
    @app.get(f"{PATH}index.html", include_in_schema=False)
    def moved() -> RedirectResponse:
        return RedirectResponse(f"{base}{PATH}")

    for name, kind in _FILES.items():
        app.get(f"{PATH}{name}", include_in_schema=False)(_file(assets / name, kind))


def _file(asset: Traversable, kind: str) -> Callable[[], Response]:
    def serve() -> Response:
        with as_file(asset) as path:
            return Response(path.read_bytes(), media_type=kind)

    return serve
