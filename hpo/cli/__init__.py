"""The command line. Commands parse, call one function, and print; nothing heavy is imported before it is needed."""

import os
import sys

import typer
from rich.console import Console

from hpo.cli import (
    browse,
    champions,
    compare,
    doctor,
    evaluate,
    export,
    matrix,
    models,
    new,
    predict,
    screen,
    serve,
    studies,
    tokenizers,
    upkeep,
)

app = typer.Typer(
    name="hpo",
    help="Hyperparameter optimization for fine-tuning pretrained text classifiers.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for module in (
    *(studies, browse, compare, doctor, upkeep, models, predict, champions),
    *(evaluate, export, matrix, serve, new, tokenizers, screen),
):
    module.add_to(app)


def main() -> None:
    """Run the command line; a user's mistake becomes one clear message and its exit code."""
    from pipelines.errors import UserError

    # Our own display says what matters; these libraries would write between its lines.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        app()
    except UserError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"error: {error}", markup=False, style="red")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; run the same command again to continue", style="yellow")
        sys.exit(130)
    except BrokenPipeError:  # `hpo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
