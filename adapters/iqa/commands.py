"""`benchwright iqa`: train a method, let it grade pictures, score anybody's predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import UsageError
from ...kinds import DEVICE

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(
    help="Retinal image quality: train a method, grade pictures, score predictions.", no_args_is_help=True
)
COMMANDS: dict[str, typer.Typer] = {"iqa": app}

WORLD = "fundus-world"
"""The task whose images need no download."""
Task = Annotated[str, typer.Option(help="Task whose training images it learns from; its name or file.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the initial weights and the order of the images.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads; more than one may change last digits.")]
Data = Annotated[str | None, typer.Option(help="Folder of the task's data files.")]
Specs = Annotated[list[Path] | None, typer.Option(help="Folder of your own specs (default: ./specs).")]


@app.command()
def train(
    method: Annotated[str, typer.Option(help="A method's name, or its file.")],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint: safetensors, and the spec that made it.")],
    task: Task = WORLD,
    data: Data = None,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = 1,
    specs: Specs = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")] = False,
) -> None:
    """Train a method on a task's training images; after a kill, the same command goes on."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not force)):
        raise UsageError(f"--out {out}: exists and is not an empty folder; choose another one, or --force")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made ({error.strerror})") from error
    _known_device(device)
    from .trained import trained

    with _bar("training") as progress:
        checkpoint = trained(method, task, data, device, seed, threads, specs or (), progress)
    checkpoint.save(out)
    for problem in checkpoint.problems:
        typer.echo(problem, err=True)
    spent = checkpoint.cost
    typer.echo(f"{out}: {checkpoint.name}, {spent['train_cpu_s']:.1f} CPU s, {spent['train_wall_s']:.1f} s in all")
    typer.echo(f"use it: benchwright iqa predict IMAGES --method {out} --out predictions.csv", err=True)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Pictures, folders, CSV lists, data sets of Hugging Face.")],
    method: Annotated[str, typer.Option(help="A checkpoint's folder; or a method's name or file, trained first.")],
    out: Annotated[Path, typer.Option(help="CSV file for the predictions.")],
    folder: Annotated[Path | None, typer.Option("--images", help="Folder of the pictures that CSV lists name.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column of CSV lists with the image's name.")] = None,
    crop: Annotated[
        str, typer.Option(help="field_of_view: cut to it; none: take pictures as they are.")
    ] = "field_of_view",
    task: Task = WORLD,
    data: Data = None,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = 1,
    specs: Specs = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
) -> None:
    """Grade pictures: a row each, with the probability of each class (or the score)."""
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    if out.is_dir():
        raise UsageError(f"--out {out}: is a folder; name a file in it")
    if out.exists() and not force:
        raise UsageError(f"--out {out}: exists; choose another name, or --force")
    if crop not in ("field_of_view", "none"):
        raise UsageError(f"--crop: got {crop!r}; expected field_of_view or none")
    _known_device(device)
    from .checkpoint import Checkpoint
    from .predicting import listed, predictions, write
    from .trained import trained

    wanted = listed(images, folder, image_column, "none" if crop == "none" else "field_of_view")
    with _bar("predicting") as progress:
        if Path(method).is_dir():
            checkpoint = Checkpoint.load(Path(method))
        else:
            checkpoint = trained(method, task, data, device, seed, threads, specs or (), progress)
        found, problems = predictions(checkpoint, wanted, device, threads, progress)
    write(out, found, checkpoint.classes)
    for problem in problems:
        typer.echo(problem, err=True)
    typer.echo(f"{out}: {len(found)} of {len(wanted) + len(wanted.left_out)} pictures")


@app.command()
def score(
    predictions: Annotated[Path, typer.Argument(help="CSV: image, and a column of probabilities for each class.")],
    labels: Annotated[Path, typer.Option(help="CSV: image and class index, as EyeQ's label files.")],
    classes: Annotated[str, typer.Option(help="Names of the classes, best first, by commas.")] = "Good,Usable,Reject",
    reject: Annotated[str, typer.Option(help="Class that is also scored alone; `none` for none.")] = "Reject",
    image_column: Annotated[str | None, typer.Option(help="Of the labels.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of the labels.")] = None,
    label_names: Annotated[
        str | None, typer.Option(help="What the label column says for each class, by commas, if not 0, 1, …")
    ] = None,
    predictions_image_column: Annotated[str | None, typer.Option(help="Of the predictions.")] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of the labels to show accuracy apart by; DR_grade if there.")
    ] = None,
    patients: Annotated[
        str | None, typer.Option(help="Regular expression; its first group is the patient. EyeQ's names are known.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Other predictions: paired tests of the two.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every number.")] = False,
) -> None:
    """Score predictions against labels: accuracy, F (three kinds), kappas, AUC, calibration, by class and by group."""
    from .scored import Asked, scored
    from .sources.params import with_group

    names = tuple(name.strip() for name in classes.split(","))
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UsageError(f"--classes {classes!r}: expected at least two different names, by commas")
    try:
        with_group(patients)
    except ValueError as error:
        raise UsageError(f"--patients: {error}") from error
    # The default of --reject speaks of the default classes.
    alone = None if reject == "none" or (reject == "Reject" and reject not in names) else reject
    if alone is not None and alone not in names:
        raise UsageError(f"--reject {reject!r}: not one of the classes {', '.join(names)}")
    said = tuple(name.strip() for name in label_names.split(",")) if label_names else ()
    columns = (image_column, label_column, predictions_image_column)
    found = scored(Asked(predictions, labels, names, alone, *columns, by, patients, against, said))
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    for warning in found["warnings"]:
        typer.echo(warning, err=True)
    _show(found)


def _known_device(name: str) -> None:
    if not re.fullmatch(DEVICE, name):
        raise UsageError(f"--device {name}: expected cpu, cuda, cuda:N or mps")


def _show(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    bounds = found["interval95"]
    overall = Table("metric", "value", "95 % interval", title=f"{found['n']} images, {found['patients']} patients")
    for name, value in found.items():
        if isinstance(value, float | None):
            span = "[" + ", ".join(map(_number, bounds[name])) + "]" if name in bounds else ""
            overall.add_row(name.replace("_", " "), _number(value), span)
    console.print(overall)
    shown = {"precision": "precision_per_class", "recall": "recall_per_class", "F1": "f1_per_class"}
    shown |= {"AUC raw": "auc_ovr_raw", "normalised": "auc_ovr_normalised"}
    apart = Table("class", *shown, "n")
    for index, name in enumerate(found["classes"]):
        counts = found["confusion_rows_true_cols_pred"][index]
        apart.add_row(name, *(_number(found[key][index]) for key in shown.values()), str(sum(counts)))
    console.print(apart)
    for key, groups in found.items():
        if key.startswith("by_"):
            table = Table(key.removeprefix("by_"), "accuracy", "macro F1", "n")
            for name, row in groups.items():
                table.add_row(name, _number(row["accuracy"]), _number(row["macro_f1"]), str(row["n"]))
            console.print(table)
    if (other := found.get("against")) is not None:
        tests = Table("against the other predictions", "gain", "p (two-sided)")
        right = f"right alone: {other['only_new_right']}, the other one {other['only_old_right']}"
        tests.add_row(f"McNemar, images ({right})", "", _number(other["mcnemar_exact_p"]))
        for name in ("accuracy", "macro_f1"):
            row = other[name]
            tests.add_row(
                f"{name.replace('_', ' ')}, patients ({row['test']})", f"{row['gain']:+.4f}", _number(row["p"])
            )
        console.print(tests)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _bar(title: str) -> Any:
    """A progress bar on standard error, as a context that gives `progress(done, total)`."""
    from ..progress import bar

    return bar(title)
