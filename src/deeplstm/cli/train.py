"""`deeplstm train`: a command for each task."""

from cyclopts import App

from deeplstm.cli.arguments import config_file, exact_values
from deeplstm.cli.train_text import train_text

train = App(name="train", help="Train a network and keep it in a folder, its run.")
train.command(train_text, name="text", help_format="markdown", config=[config_file, exact_values])
