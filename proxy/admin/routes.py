"""The operator's HTTP side: health, metrics, figures, removal. Described by OpenAPI at `/admin/docs`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.exceptions import HTTPException

from proxy.admin.access import Access
from proxy.admin.operations import Operations
from proxy.errors import AskOnceError, CacheFailure
from proxy.feedback import Feedback, Verdict
from proxy.telemetry.figures import Figures, exposition
from proxy.telemetry.metrics import Metrics


class Purge(BaseModel):
    """What to remove: exactly one selector."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(default=None, description="The X-Cache-Key of one answer.")
    all: bool = Field(default=False, description="Every answer.")
    dry_run: bool = Field(default=False, description="Only say how many.")

    @model_validator(mode="after")
    def _one_selector(self) -> Purge:
        if (self.key is not None) == self.all:
            raise ValueError('give exactly one of "key" and "all": true')
        return self


class Said(BaseModel):
    """What somebody says of an answer: exactly one of `key` and `request_id`."""

    model_config = ConfigDict(extra="forbid")

    key: str | None = Field(default=None, description="The X-Cache-Key of the answer.")
    request_id: str | None = Field(default=None, description="The X-Request-Id of its delivery.")
    verdict: Verdict


class Done(BaseModel):
    """What came of it: `pair_refused`, `answer_removed` or `noted`."""

    done: str


class Purged(BaseModel):
    """How many answers were removed, or would be."""

    purged: int


def routes(operations: Operations, feedback: Feedback, figures: Figures, access: Access) -> APIRouter:
    """Everything that is not `/v1`."""
    router = APIRouter()
    guarded = APIRouter(prefix="/admin", dependencies=[Depends(access)], tags=["operator"])

    @router.get("/livez", tags=["health"])
    async def livez() -> dict[str, str]:
        """The process is up."""
        return {"status": "ok"}

    @router.get("/readyz", tags=["health"], responses={503: {"description": "It is about to end."}})
    async def readyz(response: Response) -> dict[str, Any]:
        """Ready to serve; a store that failed is reported as degraded, and requests still go upstream. 503 `draining`
        from the moment it is asked to stop: it still serves, and nobody should send it more."""
        response.status_code = 503 if operations.draining else 200
        return operations.readiness()

    @router.get("/metrics", tags=["health"], response_class=Response)
    async def scrape() -> Response:
        """Prometheus text: sums over all processes that share the port."""
        return Response(exposition(await figures.families()), media_type=Metrics.content_type)

    @guarded.get("/stats")
    async def stats() -> dict[str, Any]:
        """Figures since the start."""
        return await operations.stats()

    @guarded.get("/entries/{key}")
    async def entry(key: str) -> dict[str, Any]:
        """One stored answer."""
        return await operations.entry(key)

    @guarded.delete("/entries/{key}")
    async def forget(key: str) -> Purged:
        """Remove one answer."""
        return Purged(purged=await operations.forget(key))

    @guarded.post("/purge")
    async def purge(wanted: Purge) -> Purged:
        """Remove one answer, or all."""
        if wanted.key is not None:
            return Purged(purged=await operations.purge_key(wanted.key, dry_run=wanted.dry_run))
        return Purged(purged=await operations.purge_all(dry_run=wanted.dry_run))

    @guarded.post("/feedback")
    async def said(wanted: Said) -> Done:
        """An answer was right, or wrong. Wrong: two questions that were matched never match again; any other answer is
        removed."""
        return Done(
            done=await feedback.give(None, key=wanted.key, request_id=wanted.request_id, verdict=wanted.verdict)
        )

    @guarded.get("/semantic")
    async def semantic() -> dict[str, Any]:
        """Matching by meaning: parts, and how each partition keeps to its budget."""
        return operations.semantic()

    @guarded.get("/semantic/near-misses")
    async def near_misses() -> list[dict[str, Any]]:
        """Questions lately sought whose nearest stored question was refused, and by what; the latest first."""
        return operations.near_misses()

    router.include_router(guarded)
    return router


def add_error_handlers(application: FastAPI) -> None:
    """Errors as problem details (RFC 9457) on everything but `/v1`."""

    @application.exception_handler(AskOnceError)
    async def ours(_request: Request, error: AskOnceError) -> Response:
        status = 503 if isinstance(error, CacheFailure) else error.status
        return problem(status, error.reason, error.message)

    @application.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, "http", str(error.detail))

    @application.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return problem(422, "invalid", said)


def problem(status: int, code: str, detail: str) -> Response:
    """`application/problem+json`."""
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
