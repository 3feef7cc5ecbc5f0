"""JSON without its traps: no NaN, no doubled key, no number of thousands of digits, no depth without end."""

import json
from typing import Any, NoReturn

from pipelines.serve.refusal import Refusal


def parse(body: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises `Refusal` (400)."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Refusal(400, "not_utf8", f"the body is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise Refusal(400, "not_json", "the body is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise Refusal(400, "not_json", f"the body is not JSON (character {error.pos})") from error
    except ValueError as error:  # of int(): a number of more digits than Python converts
        raise Refusal(400, "not_json", "the body holds a number that is too long") from error


def is_broken(text: str) -> bool:
    """Whether a text has lone surrogates, which JSON can spell and UTF-8 cannot."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if any(map(is_broken, found)):
        raise Refusal(422, "not_unicode", "a field's name has a lone surrogate, so it is not valid Unicode")
    if len(found) != len(pairs):
        raise Refusal(400, "doubled_key", "the body has the same key twice")
    return found


def _no_number(constant: str) -> NoReturn:
    raise Refusal(400, "not_json", f"{constant} is no JSON")
