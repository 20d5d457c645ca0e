"""Where rows of measurements go, as Lightning loggers: metrics.csv always, TensorBoard if asked for."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from deeplstm.training.metrics import MetricsFile
from deeplstm.training.run_folder import Run


class CsvLogger(Logger):
    """Appends to metrics.csv. (Lightning's own rewrites the file, and begins by deleting the old one.)"""

    def __init__(self, file: MetricsFile) -> None:
        super().__init__()
        self._file = file

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.toml has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._file.append(metrics)

    def save(self) -> None:
        self._file.sync()


def tensorboard_logger(run: Run, step: int) -> Logger:
    """Lightning's TensorBoard logger into RUN/tensorboard; what earlier sessions wrote after `step` is hidden."""
    return TensorBoardLogger(run.path, name=run.tensorboard.name, version="", purge_step=step + 1)
