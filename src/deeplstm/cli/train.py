"""`deeplstm train`: a command for each task."""

from cyclopts import App

from deeplstm.cli.arguments import config_file, exact_values
from deeplstm.cli.train_series import train_series
from deeplstm.cli.train_text import train_text
from deeplstm.tasks.series.choices import SeriesConfig
from deeplstm.tasks.text.choices import TextConfig

train = App(name="train", help="Train a network and keep it in a folder, its run.")
for name, command, kind in (("text", train_text, TextConfig), ("series", train_series, SeriesConfig)):
    train.command(command, name=name, help_format="markdown", config=[config_file(name, kind), exact_values])
