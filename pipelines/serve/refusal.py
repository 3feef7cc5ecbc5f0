"""Requests that are not answered, and why: one form for all of them."""

import json
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

_CODES = {404: "not_found", 405: "wrong_method", 400: "not_json"}
_MESSAGES = {404: "there is no such page", 405: "this page does not take that method"}
# What pydantic calls a fault, as our code and words; faults of our own checks come with both.
_FAULTS = {
    "missing": ("missing_field", "this field is missing"),
    "extra_forbidden": ("unknown_field", "there is no such field"),
    "string_type": ("not_text", "this must be a text"),
    "list_type": ("not_a_list", "this must be a list of texts"),
    "bool_type": ("not_a_boolean", "this must be true or false"),
    "literal_error": ("unknown_alias", "an alias is champion or challenger"),
}
_OBJECT = ("not_an_object", "the body must be a JSON object with `text` or `texts`")
_LONGEST_PLACE = 80


class Refusal(HTTPException):
    """A request that is not answered: HTTP status, a code for programs, one clear line, and where the fault is."""

    def __init__(
        self, status: int, code: str, message: str, *, where: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers=headers)
        self.code, self.message, self.where = code, message, where


def busy(message: str) -> Refusal:
    """Too much to do: come back in a second."""
    return Refusal(503, "busy", message, headers={"Retry-After": "1"})


def answer(refusal: Refusal) -> Response:
    """A refusal as a response."""
    error = {"code": refusal.code, "message": refusal.message, "where": refusal.where}
    content = json.dumps({"error": error}).encode()  # in ASCII: a lone surrogate in a field's name cannot be encoded
    return Response(content, refusal.status_code, refusal.headers, media_type="application/json")


async def answer_refusal(request: Request, error: Exception) -> Response:
    """The handler of a `Refusal`, and of what the framework itself refuses."""
    if isinstance(error, Refusal):
        return answer(error)
    if isinstance(error, RequestValidationError):
        return answer(_of_fault(error.errors()[0]))
    status = getattr(error, "status_code", 500)
    headers = getattr(error, "headers", None)
    code, message = _CODES.get(status, "refused"), _MESSAGES.get(status, "the request cannot be read")
    return answer(Refusal(status, code, message, headers=headers))


async def answer_bug(request: Request, error: Exception) -> Response:
    """The handler of everything else; what it was is for the log, not for the client."""
    return answer(Refusal(500, "internal", "the server failed; its log says where"))


def _of_fault(fault: dict[str, Any]) -> Refusal:
    """The first fault of a body that is JSON and not what was asked for; never with the text in it."""
    kind, place = fault["type"], _place(fault["loc"])
    if kind in _FAULTS:
        code, message = _FAULTS[kind]
    elif place is None or kind == "model_attributes_type":
        code, message = _OBJECT
    else:
        code, message = kind, fault["msg"]
    return Refusal(422, code, message, where=place)


def _place(location: tuple[str | int, ...]) -> str | None:
    """`texts[3]` for ("body", "many", "texts", 3); the first two are the framework's and the schema's own names."""
    names = [part for part in location if part not in {"body", "one", "many"}]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in names).lstrip(".")
    return place[:_LONGEST_PLACE] or None
