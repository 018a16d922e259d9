"""`benchwright worlds`: train the models of the embedded worlds anew, ask one what it knows, write images of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import RunError, UsageError, unknown
from .shipped import WORLDS, shipped, shipped_names, world_of

if TYPE_CHECKING:
    from .knowledge.training import Progress

app = typer.Typer(help="The embedded worlds: train a model, score one, write images.", no_args_is_help=True)
COMMANDS: dict[str, typer.Typer] = {"worlds": app}

_IMAGE_WORLDS = ("fundus",)
_EVERY = 200
"""Steps between two lines of progress."""


@app.command()
def train(
    world: Annotated[str, typer.Argument(help=f"Which world: {', '.join(WORLDS)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the model; usable as --model DIR.")],
    recipe: Annotated[str, typer.Option(help="standard, or small (knowledge only).")] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Of the world, and of the weights.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads; one gives the same bytes each time.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
) -> None:
    """Train a model from scratch on the CPU, score it, write a model folder with world.json and card.json."""
    if world not in WORLDS:
        raise UsageError(unknown("world", world, WORLDS))
    _check_folder(out, force)
    chosen = _recipe(world, recipe, seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be made ({error.strerror})") from error

    import torch

    from .knowledge.folder import round_to_half, save

    torch.set_num_threads(threads)
    made = _room(world, "making").make_world(seed)
    cpu_s = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal cpu_s
        cpu_s = progress.cpu_s
        if progress.step % _EVERY == 0 or progress.step == progress.steps:
            left = cpu_s / progress.step * (progress.steps - progress.step)
            line = (
                f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  {cpu_s:.0f} CPU s, {left:.0f} to go"
            )
            typer.echo(line, err=True)

    model = _room(world, "training").train(made, chosen, on_progress)
    tokenizer = _room(world, "tokenizer").make_tokenizer(made)
    round_to_half(model)
    scores = _room(world, "scoring").score(model, tokenizer, made)
    save(out, model, tokenizer, made, chosen, recipe_name=recipe, cpu_s=cpu_s, threads=threads, scores=scores)
    typer.echo(_table(scores))
    typer.echo(f"{out}: written; use it as --model {out}", err=True)


@app.command("score")
def score_command(
    model: Annotated[str, typer.Argument(help="A folder that `worlds train` wrote, or the name of a shipped model.")],
    sample: Annotated[int, typer.Option(min=4, help="Questions of each pool, at most.")] = 800,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a model about its world: shares of exact answers, of refusals and of unsafe ones, by what is asked."""
    folder = Path(model)
    if not folder.is_dir():
        if model not in shipped_names():
            raise UsageError(f"{model}: no such folder, and {unknown('world', model, shipped_names())}")
        folder = shipped(model)
    name = world_of(folder)
    world = _room(name, "folder").read_world(folder)

    from .knowledge.folder import open_model

    opened, tokenizer = open_model(folder)
    scores = _room(name, "scoring").score(opened, tokenizer, world, sample)
    typer.echo(json.dumps(scores) if as_json else _table(scores))


@app.command()
def images(
    world: Annotated[str, typer.Argument(help=f"Which world: {', '.join(_IMAGE_WORLDS)}.")],
    out: Annotated[Path, typer.Option(help="Folder for images/, quality/ and labels.csv.")],
    number: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    size: Annotated[int, typer.Option(help="Side in pixels, 64 to 512.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of the world.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
) -> None:
    """Write synthetic photographs with their quality: PNG files, maps of quality, a table of labels."""
    if world not in _IMAGE_WORLDS:
        raise UsageError(unknown("world of images", world, _IMAGE_WORLDS))
    _check_folder(out, force)

    from .fundus import GRADES
    from .fundus.folder import LABELS, write

    try:
        counts = write(out, number, size, seed)
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror})") from error
    typer.echo(", ".join(f"{grade} {count}" for grade, count in zip(GRADES, counts, strict=True)))
    typer.echo(f"{out}: written; its labels are in {out / LABELS}", err=True)


def _check_folder(out: Path, force: bool) -> None:
    """Raises UsageError for what is no folder, and for one that is not empty unless it is forced."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: not a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise UsageError(f"{out}: not empty; choose another folder, or write into it with --force")


def _room(world: str, name: str) -> Any:
    """A module of a world; all of `WORLDS` have the same ones, with functions of the same names."""
    return import_module(f".{world}.{name}", __package__)


def _recipe(world: str, name: str, seed: int) -> Any:
    from dataclasses import replace

    recipes = _room(world, "training").RECIPES
    if name not in recipes:
        raise UsageError(unknown(f"recipe of the {world} world", name, recipes))
    return replace(recipes[name], seed=seed)


def _table(scores: Mapping[str, float]) -> str:
    """One line for each pool."""
    width = max(map(len, scores))
    return "\n".join(f"{name:<{width}}  {value:7.3f}" for name, value in scores.items())
