"""The application and its commands. A module of commands registers itself by being imported here."""

from __future__ import annotations

from typing import Annotated

import typer

from ..registry import commands
from . import look, results, write
from .run import plan_command, run_command

app = typer.Typer(
    name="benchwright",
    help="Benchmarks as specs, results as records: edit, detoxify, dissect, instruct and grade models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("run")(run_command)
app.command("plan")(plan_command)
app.command("validate")(look.validate_command)
app.command("list")(look.list_command)
app.command("show")(look.show_command)
app.command("doctor")(look.doctor_command)
app.command("new")(write.new_command)
app.command("schema")(write.schema_command)
app.command("leaderboard")(results.leaderboard_command)
app.command("report")(results.report_command)
app.command("compare")(results.compare_command)
app.command("gate")(results.gate_command)
app.add_typer(results.baseline_app, name="baseline")
for name, command in commands().items():
    if callable(command) and not isinstance(command, typer.Typer):
        app.command(name)(command)
    else:
        app.add_typer(command, name=name)
