"""What a run was trained for, and the modules that know how to go on with it."""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from deeplstm.errors import InputError

FILES = {"text": "text", "series": "data"}
"""Task of a run -> the option that names its file where a command reads those of several tasks."""


def task_of(run: Path) -> str:
    """The task of the run at `run`; InputError where there is no run, or one of a task that this version does not have."""
    from deeplstm.training.run_folder import Run

    folder = Run.open(run)
    if folder.task not in FILES:
        raise InputError(
            f"{folder.config} is of the task {folder.task!r}; this version has {' and '.join(FILES)}. "
            "Put this run's own file back, or use the version that made it."
        )
    return folder.task


def module_of(task: str, name: str) -> ModuleType:
    """A task's module: each has `runs` (train, resume, load), `summary` (show) and `report` (report)."""
    return import_module(f"deeplstm.tasks.{task}.{name}")
