"""What is asked and answered over HTTP, checked strictly: a field that nobody knows is a mistake, not a wish."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from pipelines.serve.limits import CHARACTERS, TEXTS
from pipelines.serve.strict import is_broken

_TEXT_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": CHARACTERS,
    "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
}


def _checked(text: str) -> str:
    """A text that a model can be asked about; the message never holds the text."""
    if len(text) > CHARACTERS:
        raise PydanticCustomError("text_too_long", f"a text may have {CHARACTERS:,} characters at most")
    if is_broken(text):
        raise PydanticCustomError("not_unicode", "this text has a lone surrogate, so it is not valid Unicode")
    if "\0" in text:
        raise PydanticCustomError("nul_character", "this text has a NUL character")
    if not text.strip():
        raise PydanticCustomError("blank_text", "this text is blank")
    return text


def _few(texts: list[str]) -> list[str]:
    if not texts:
        raise PydanticCustomError("no_texts", "there is no text in this list")
    if len(texts) > TEXTS:
        raise PydanticCustomError("too_many_texts", f"a request may have {TEXTS} texts at most")
    return texts


Text = Annotated[str, AfterValidator(_checked), WithJsonSchema(_TEXT_SCHEMA)]
Texts = Annotated[
    list[Text],
    AfterValidator(_few),
    WithJsonSchema({"type": "array", "minItems": 1, "maxItems": TEXTS, "items": _TEXT_SCHEMA}),
]
Alias = Annotated[
    Literal["champion", "challenger"] | None,
    Field(description="Which model answers; the served one by default."),
]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class OneText(_Asked):
    """One text, on wish with the influence of its words."""

    text: Text
    alias: Alias = None
    influence: bool = Field(False, description="Measure what each word adds to the probability of the answer.")


class ManyTexts(_Asked):
    """Several texts."""

    texts: Texts
    alias: Alias = None


def _kind(value: Any) -> str:
    return "many" if isinstance(value, dict) and "texts" in value else "one"


Question = Annotated[
    Annotated[OneText, Tag("one")] | Annotated[ManyTexts, Tag("many")],
    Discriminator(_kind),
]


class Report(_Asked):
    """A prediction that a person says is wrong."""

    text: Text
    predicted: str = Field(description="The class that was answered.")
    label: str = Field(description="The class that it should have been.")


class ModelName(_Told):
    """Which model answered."""

    name: str
    version: str
    alias: str | None


class Word(_Told):
    """A word's influence; offsets count UTF-16 code units, as JavaScript does."""

    start: int
    end: int
    effect: float = Field(description="Probability of the label with the word, minus without it.")


class Influence(_Told):
    """What each word adds to the probability of the answer."""

    method: Literal["leave-one-out"] = "leave-one-out"
    label: str
    words: list[Word]


class Prediction(_Told):
    """What the model says of one text."""

    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool = Field(description="The text is longer than the model reads.")
    influence: Influence | None = None


class Answer(_Told):
    """One prediction for each text, in order."""

    model: ModelName
    predictions: list[Prediction]


class Score(_Told):
    """A score on locked test rows, with its 95 % interval where the rows are known."""

    value: float
    low: float | None = None
    high: float | None = None


class Challenger(_Told):
    """The model that stands ready beside the one that is served."""

    name: str
    version: str
    scores: dict[str, Score]


class RequestLimits(_Told):
    """What a request may have, at most."""

    texts: int
    characters: int
    body_bytes: int


class ModelPage(_Told):
    """All about the model that is served."""

    name: str
    version: str
    alias: str | None
    runtime: str
    labels: list[str]
    max_length: int = Field(description="Tokens that the model reads of a text.")
    calibrated: bool
    scores: dict[str, Score]
    study: str | None
    base_model: str | None
    card: str = Field(description="The model card, Markdown.")
    challenger: Challenger | None
    reports: bool = Field(description="Whether mistake reports are taken.")
    limits: RequestLimits
    notice: str | None = Field(description="What is wrong with the registry or a newer version; null: nothing.")


class Stored(_Told):
    """The report is on disk."""

    stored: Literal[True] = True


class Health(_Told):
    """How the server is."""

    status: str
    notice: str | None = None


class Fault(_Told):
    """Why there is no answer."""

    code: str
    message: str
    where: str | None


class Error(_Told):
    """Every answer that is none."""

    error: Fault
