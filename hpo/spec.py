"""A study, completely: one frozen tree, read from YAML and `path=value` overrides."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pipelines.config import Frozen, Number, RunConfig

Scalar = str | int | float | bool | None


class Objective(Frozen):
    """One score to optimize, measured on the select split."""

    metric: str
    """`accuracy`, `balanced_accuracy`, `macro_f1`, `mcc`, `log_loss`, `brier`, `auroc`, `average_precision`, `ece`,
    `latency_ms` (one text), `parameters`."""
    direction: Literal["maximize", "minimize"] | None = None
    """The metric's own direction where this is left out."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Component(Frozen):
    """One of Optuna's samplers or pruners, by name, with its own options."""

    name: str
    """Name of the class in lower case, without its ending: `tpe`, `gp`, `cmaes`, `random`, `grid`, `median` ..."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of that class, as Optuna's documentation names them."""


class Budget(Frozen):
    """When the study is over; whichever limit is reached first. All of them count over all restarts."""

    trials: int = Field(default=20, ge=1, le=100_000)
    """Finished trials in total. On the command line `budget.trials=+20` means 20 more than the study has."""
    more: int | None = Field(default=None, ge=1, le=100_000)
    """So many trials beyond those that the study has finished, in the place of `trials`."""
    minutes: Number | None = Field(default=None, gt=0)
    """Wall-clock minutes."""
    examples: int | None = Field(default=None, ge=1)
    """Training examples seen by all trials together; one that is seen in two epochs counts twice."""
    device_hours: Number | None = Field(default=None, gt=0)
    """Hours of GPUs (of machines, where there is none) that the study holds, whether or not it keeps them busy."""
    money: Number | None = Field(default=None, gt=0)
    """What the device hours may cost, in the currency of `price`."""
    price: Number | None = Field(default=None, gt=0)
    """Of one device hour."""
    converged: Annotated[Component, BeforeValidator(_named, str | Component)] | None = None
    """Stop when Optuna's terminator sees nothing left to gain: `best_value_stagnation`, `regret_bound` or `emmr`, with
    its options."""

    @model_validator(mode="after")
    def _has_a_price(self) -> Self:
        if (self.money is None) != (self.price is None):
            raise ValueError("money and price need each other: what may be spent, and what a device hour costs")
        return self


class Scheduling(Frozen):
    """Which trials train how far."""

    name: Literal["halving", "full"]
    """`halving`: at each rung the best 1/factor go on, the others rest and may be resumed. `full`: every trial trains
    to its end unless the pruner stops it."""
    floor: int = Field(default=1000, ge=1)
    """Training examples before which no trial is judged."""
    top: int | None = Field(default=None, ge=1)
    """Training examples from which the rungs are counted down; those of the longest trial where this is left out."""
    factor: int = Field(default=2, ge=2, le=100)
    """One of so many trials goes on, and then trains so many times as long."""
    brackets: int = Field(default=1, ge=1, le=20)
    """Of more than one, each skips one more of the early rungs, so that slow starters have a chance (Hyperband)."""
    score: Literal["auto", "objective", "log_loss"] = "auto"
    """What ranks the trials at a rung. `auto`: the log loss where the objective counts right answers (accuracy, macro
    F1 ...), since it tells earlier who learns, unless class weights change what it means; else the objective."""


class Calibration(Frozen):
    """What is fitted to the winner on the calibrate split, which neither training nor choice has seen. Kept only where
    it also helps rows that it was not fitted to; the model card says what it brought."""

    temperature: bool = True
    """Divide the logits by one number, so that probabilities mean what they say; the answers stay the same."""
    threshold: Literal["accuracy", "balanced_accuracy", "macro_f1", "mcc"] | None = None
    """Move the thresholds from which on a class is the answer so that this score rises; `null` answers with the most
    probable class."""


class Confirmation(Frozen):
    """Trainings with fresh seeds that decide between the best trials: nobody has chosen them for their luck."""

    finalists: int = Field(default=3, ge=0, le=20)
    """At most so many of the trials that cannot be told from the best one; the known-good default is compared with
    them. 0: the best trial wins, and its score is the lucky one of the search."""
    seeds: int = Field(default=3, ge=1, le=20)
    """Fresh trainings of each at most; fewer where the decision is clear before, or the share is used up."""
    share: Number = Field(default=0.5, gt=0, le=10)
    """Training examples that these trainings may see, as a share of those of the search; the first one of each is
    always done. Of a limit on minutes, examples, device hours or money the search leaves what this share needs."""
    folds: int = Field(default=1, ge=1, le=20)
    """For small data: each fresh training is done once for each of so many folds of the train and select rows, dealt
    out anew for every seed, and all these rows decide, not the select rows alone. It costs so many times as much."""
    average: bool = False
    """Try the mean of the weights of the winner's fresh trainings (Wortsman et al. 2022) as one more model of the same
    size, and deliver it where it is better than the first of them on the select rows. Without folds only."""
    prefer: Literal["simpler", "higher"] = "simpler"
    """Who wins of those that cannot be separated: the smaller, cheaper or simpler one (fewer weights, shorter inputs,
    the default, less training), or the higher mean."""


class Promotion(Frozen):
    """When the winner takes the place of the reigning champion. It may be changed while a study lives."""

    policy: Literal["better", "non_inferior_and_cheaper"] = "better"
    """`better`: a paired one-sided test on the locked test rows says so. `non_inferior_and_cheaper`: it is surely not
    worse by more than `margin`, and has fewer parameters or is a tenth faster."""
    alpha: Number = Field(default=0.05, gt=0, lt=0.5)
    """Chance that any of all challengers on the same test rows, however many, is promoted without being better. The
    k-th look at the rows has the level `alpha * 6 / (pi k)^2`."""
    minimum_effect: Number = Field(default=0.0, ge=0)
    """How much better the deciding metric must at least be, in the metric's own unit."""
    margin: Number | None = Field(default=None, gt=0)
    """How much worse is still as good, for `non_inferior_and_cheaper`, in the metric's own unit."""
    floors: dict[str, Number] = Field(default_factory=dict)
    """What the candidate must reach on the test rows: a metric (`accuracy: 0.8`; of one that is to be small, the most
    that it may be), the recall of a class (`class NAME: 0.7`), or the accuracy on texts of some length
    (`1 to 40 characters: 0.7`)."""
    elsewhere: dict[str, dict[str, Number]] = Field(default_factory=dict)
    """What it must reach on other data sets, by their source: `sample:amazon: {accuracy: 0.7}`; metrics alone, as in
    `floors`. Rows that stand in the study's own data do not count."""
    max_megabytes: Number | None = Field(default=None, gt=0)
    """Size of the exported model."""
    max_latency_ms: Number | None = Field(default=None, gt=0)
    """Time to classify one text, in milliseconds on the machine that tests it."""

    @model_validator(mode="after")
    def _has_a_margin(self) -> Self:
        if self.policy == "non_inferior_and_cheaper" and self.margin is None:
            raise ValueError("non_inferior_and_cheaper needs a margin: how much worse is still as good")
        return self


class Workers(Frozen):
    """Processes that train side by side on this machine."""

    count: int | None = Field(default=None, ge=1, le=1024)
    """Number of worker processes; chosen from the machine where this is left out."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads of each worker; chosen from the machine where this is left out."""
    silence_minutes: Number = Field(default=10.0, gt=0)
    """A worker that tells nothing for so long hangs: it is replaced, and its segment begins again from its last
    checkpoint."""
    max_growth_gib: Number = Field(default=2.0, gt=0)
    """A worker whose memory has grown by more than this since its first trials is replaced, between two trials."""


class Screening(Frozen):
    """A look at all checkpoints of `space: model.name` before the first trial, which keeps the most promising ones."""

    keep: int = Field(default=3, ge=1, le=100)
    """At most so many go into the search; those that are far behind do not."""
    rows: int | None = Field(default=None, ge=10, le=1_000_000)
    """Training rows to look at: a third of them, 2,000 at most, where this is left out."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Another seed draws other rows."""


class Dimension(Frozen):
    """What one setting may be: a list of choices, or a range; `per_model` gives a model its own."""

    choices: list[Scalar] | None = None
    """The values to choose from. A plain list means the same."""
    low: Number | None = None
    """Smallest value of a range."""
    high: Number | None = None
    """Largest value of a range."""
    log: bool = False
    """Search the range on a logarithmic scale."""
    step: Number | None = Field(default=None, gt=0)
    """Only multiples of this above `low`."""
    per_model: dict[str, "AnyDimension"] = Field(default_factory=dict)
    """Another range for single models, by the name they have in `model.name`."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        ranged = self.low is not None or self.high is not None
        if self.choices is not None and ranged:
            raise ValueError("give either choices or low and high, not both")
        if self.choices is not None and not self.choices:
            raise ValueError("the list of choices is empty")
        if self.choices is not None and len(set(map(repr, self.choices))) < len(self.choices):
            raise ValueError("a choice stands twice")
        if self.choices is None and (self.low is None or self.high is None):
            raise ValueError("give a list of choices, or low and high")
        if self.low is not None and self.high is not None:
            _check_range(self.low, self.high, log=self.log, step=self.step)
        return self


def _check_range(low: float, high: float, *, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low:g} is above high {high:g}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range must start above 0, not at {low:g}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")


def _objectives(value: Any) -> Any:
    many = value if isinstance(value, list) else [value]
    return [{"metric": one} if isinstance(one, str) else one for one in many]


Listed = list[Scalar]
AnyDimension = Annotated[
    Dimension,
    BeforeValidator(lambda value: {"choices": value} if isinstance(value, list) else value, Dimension | Listed),
]
Dimension.model_rebuild()


class StudySpec(Frozen):
    """What to search, how long, and with what."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    """Names the study everywhere; letters, digits, `.`, `_` and `-`. The file's name where this is left out."""
    description: str = Field(default="", max_length=5000)
    """Shown on the study's page."""
    objective: Annotated[list[Objective], BeforeValidator(_objectives, str | Objective | list[str | Objective])] = (
        Field(default=[Objective(metric="accuracy")], min_length=1, max_length=5)
    )
    """One score, or a list of them (then there is no pruning, and the first decides about promotion)."""
    budget: Budget = Budget()
    """When the study is over."""
    sampler: Annotated[Component, BeforeValidator(_named, str | Component)] = Component(name="tpe")
    """How configurations are proposed: any of Optuna's samplers."""
    schedule: Annotated[Scheduling, BeforeValidator(_named, str | Scheduling)] | None = None
    """`halving`, or `full` training with a pruner. Where this is left out: `full` when a pruner is named, when there
    are several objectives, or when the objective is known at the end only; else `halving`."""
    pruner: Annotated[Component, BeforeValidator(_named, str | Component)] | None = None
    """Which trials a `full` schedule stops early: any of Optuna's pruners, or `nop` for none; `median` where this is
    left out."""
    run: RunConfig = RunConfig()
    """What every trial shares; what `space` names is replaced in each trial."""
    space: dict[str, AnyDimension] = Field(default_factory=dict)
    """What is searched, by address (`train.learning_rate`)."""
    screen: Screening | None = Field(default=None, alias="model.screen")
    """Rank the checkpoints of `space: model.name` on the data before the first trial, and search the best of them
    only, as `hpo screen` does; `{keep: 3}`. Nothing is left out where this is."""
    learn_from: list[str] = Field(default=[], max_length=20)
    """Earlier studies whose trials teach the sampler where they can be compared with this one's, and whose best
    configurations are tried first where they cannot. On the command line: `--from STUDY`."""
    confirm: Confirmation = Confirmation()
    """How the winner is chosen when the search is over."""
    start_with_defaults: bool = True
    """The first trials are the known-good defaults of each model in the study."""
    calibration: Calibration = Calibration()
    """How the winner's probabilities and answers are adjusted before it is tested and registered."""
    workers: Workers = Workers()
    """How much of this machine is used."""
    register_as: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    """Registered model that the winner becomes a version of; nothing is registered where this is left out."""
    promotion: Promotion = Promotion()
    """When the winner becomes champion of that model."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seeds the sampler. What the trials draw is seeded by `run.seed`."""

    @property
    def kept_for_confirmation(self) -> float:
        """The share of minutes, examples, device hours and money that the search leaves."""
        return self.confirm.share / (1 + self.confirm.share) if self.confirm.finalists else 0.0

    @property
    def models(self) -> list[str]:
        """Names of all models that the study may train."""
        dimension = self.space.get("model.name")
        return [str(choice) for choice in dimension.choices or []] if dimension else [self.run.model.name]
