"""A run as its user sees it on a terminal: what it is made on, how far it is, what went wrong."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import session
from bench.request import Request
from runtime.errors import LaunchError


def measure(request: Request, console: Console) -> session.Result:
    """Make a run, with a bar on ``console``. Raises what :func:`bench.session.run` does."""
    choice = request.choice
    place = "containers" if choice.launcher == "docker" else "processes"
    console.print(
        f"hopbench: steps as {place} ({choice.launcher_reason}), "
        f"{choice.broker} ({choice.broker_reason}), seed {request.seed}",
        highlight=False,
        markup=False,
    )
    _sweep(console)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("preparing", total=None)
        result = session.run(
            request,
            session.Progress(
                phase=lambda text: bar.update(task, description=text),
                step=lambda done, planned: bar.update(task, completed=done, total=planned),
            ),
        )
    for note in result.notes:
        console.print(f"hopbench: {note}", highlight=False, markup=False)
    for problem in result.problems:
        console.print(f"hopbench: {problem}", style="yellow", highlight=False, markup=False)
    return result


def _sweep(console: Console) -> None:
    from runtime.launch import leftovers

    try:
        removed = leftovers.clean().leftovers
    except LaunchError as error:
        # What an earlier run left must not keep this one from measuring.
        console.print(f"hopbench: {error}", style="yellow", highlight=False, markup=False)
        return
    for each in removed:
        console.print(f"hopbench: removed a leftover: {each}", highlight=False, markup=False)
