"""The HTTP interface: pages, and what stands behind each."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from pipelines.serve import strict
from pipelines.serve.batching import Batcher
from pipelines.serve.border import Border
from pipelines.serve.influence import influence
from pipelines.serve.limits import CHARACTERS, TEXTS, Settings
from pipelines.serve.metrics import Metrics
from pipelines.serve.refusal import Refusal, answer_bug, answer_refusal
from pipelines.serve.reports import Reports
from pipelines.serve.schema import (
    Answer,
    Challenger,
    Error,
    Health,
    ModelPage,
    OneText,
    Question,
    Report,
    RequestLimits,
    Stored,
)
from pipelines.serve.served import Shelf

_PAGE = Path(__file__).parent / "page"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
ASSETS: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{f"/assets/{path.name}": (path.name, _TYPES[path.suffix]) for path in _PAGE.glob("*.*") if path.suffix in _TYPES},
}
"""The only files that are given out."""
_WORDS = {
    400: "Not JSON, or not a request in HTTP/1.1",
    401: "A bearer token is needed",
    403: "Asked by a page of another origin",
    404: "There is none",
    405: "Wrong method",
    408: "The request came too slowly",
    413: "The body is too large",
    415: "Not application/json",
    421: "Wrong Host name",
    422: "JSON, and not what is asked for",
    500: "The server failed",
    503: "No model, or too much to do; see Retry-After",
}
_EVERYWHERE = (400, 401, 403, 405, 408, 413, 421, 500, 503)


class _StrictRequest(Request):
    async def json(self) -> Any:
        return strict.parse(await self.body())


class _StrictRoute(APIRoute):
    """Parses bodies by `strict.parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


def build(shelf: Shelf, *, settings: Settings, metrics: Metrics) -> ASGIApp:
    """The whole application. Raises `ConfigError` where the reports' file cannot be written."""
    batcher = Batcher(settings.limits, seen=metrics.batch)
    metrics.watch_queue(lambda: batcher.waiting)
    reports = Reports(settings.reports) if settings.reports else None

    inside = FastAPI(
        title="hpo serve",
        description="A text classifier.",
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for kind in (HTTPException, RequestValidationError):
        inside.add_exception_handler(kind, answer_refusal)
    inside.add_exception_handler(Exception, answer_bug)
    protected = [Depends(HTTPBearer(auto_error=False))] if settings.access.token else []
    inside.include_router(_questions(shelf, batcher, settings=settings), dependencies=protected)
    if reports is not None:
        inside.include_router(_mistakes(shelf, reports), dependencies=protected)
    inside.include_router(_measures(metrics), dependencies=protected)
    inside.include_router(_health(shelf, batcher))
    inside.include_router(_page())
    return Border(inside, limits=settings.limits, access=settings.access, metrics=metrics, full=lambda: batcher.full)


def _questions(shelf: Shelf, batcher: Batcher, *, settings: Settings) -> APIRouter:
    router = APIRouter(route_class=_StrictRoute, tags=["model"])

    @router.post("/v1/predict", response_model=Answer, responses=_errors(404, 415, 422))
    async def predict(question: Annotated[Question, Body()]) -> Response:
        """Label and probability of every class for one or many texts."""
        model, name = shelf.ask(question.alias)
        texts = [question.text] if isinstance(question, OneText) else question.texts
        predictions = await batcher.ask(model, texts)
        if isinstance(question, OneText) and question.influence:
            found = await influence(
                question.text,
                predictions[0],
                ask=lambda some: batcher.ask(model, some),
                batch=settings.limits.batch,
            )
            predictions = [predictions[0].model_copy(update={"influence": found})]
        return _json(Answer(model=name, predictions=predictions))

    @router.get("/v1/model", response_model=ModelPage, responses=_errors())
    async def model() -> Response:
        """The model that is served: version, scores, card, limits."""
        return _json(_model_page(shelf, settings))

    return router


def _model_page(shelf: Shelf, settings: Settings) -> ModelPage:
    model, name = shelf.ask(None)
    second = shelf.look("challenger")
    return ModelPage(
        name=name.name,
        version=name.version,
        alias=name.alias,
        runtime=model.kind,
        labels=list(model.runtime.labels),
        max_length=model.runtime.max_length,
        calibrated=model.facts.calibrated,
        scores=dict(model.facts.scores),
        study=model.facts.study,
        base_model=model.facts.base_model,
        card=model.facts.card,
        challenger=second and Challenger(name=second.name, version=second.version, scores=dict(second.facts.scores)),
        reports=settings.reports is not None,
        limits=RequestLimits(texts=TEXTS, characters=CHARACTERS, body_bytes=settings.limits.body_bytes),
        notice=shelf.notice(shelf.main),
    )


def _mistakes(shelf: Shelf, reports: Reports) -> APIRouter:
    router = APIRouter(route_class=_StrictRoute, tags=["reports"])

    @router.post("/v1/reports", response_model=Stored, status_code=201, responses=_errors(415, 422))
    async def report(mistake: Annotated[Report, Body()]) -> Response:
        """Say that a prediction is wrong; the text is kept, for a study to learn from."""
        model, _ = shelf.ask(None)
        for where, label in (("predicted", mistake.predicted), ("label", mistake.label)):
            if label not in model.runtime.labels:
                raise Refusal(422, "unknown_label", "the model has no such class", where=where)
        await asyncio.to_thread(
            reports.append,
            text=mistake.text,
            predicted=mistake.predicted,
            label=mistake.label,
            model=f"{model.name}/{model.version}",
        )
        return _json(Stored(), status=201)

    return router


def _measures(metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["health"])
    text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text format"}
    }

    @router.get("/metrics", response_class=Response, responses=text | _errors())
    def measures() -> Response:
        """What Prometheus reads."""
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def _health(shelf: Shelf, batcher: Batcher) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", response_model=Health, responses=_errors())
    async def alive() -> Response:
        """The process answers."""
        return _json(Health(status="alive"))

    @router.get("/readyz", response_model=Health, responses=_errors())
    async def ready() -> Response:
        """A model answers; 503 with the reason while none does."""
        shelf.ask(None)
        if batcher.stuck:
            raise Refusal(503, "stuck", "the model has not answered for too long")
        return _json(Health(status="ready", notice=shelf.notice(shelf.main)))

    return router


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in ASSETS.items():
        router.add_api_route(path, _file(_PAGE / name, kind), methods=["GET", "HEAD"])
    return router


def _file(path: Path, kind: str) -> Callable[[], Coroutine[Any, Any, Response]]:
    content = path.read_bytes() if path.is_file() else None

    async def give() -> Response:
        if content is None:
            raise Refusal(404, "not_found", "this server was built without its page")
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return give


def _json(value: BaseModel, *, status: int = 200) -> Response:
    return Response(value.model_dump_json(), status, media_type="application/json")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a page, for the OpenAPI document."""
    return {status: {"model": Error, "description": _WORDS[status]} for status in sorted({*_EVERYWHERE, *statuses})}
