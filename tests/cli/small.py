"""What a run of no size and no length is made of."""

TEXT = "to be, or not to be: that is the question.\n" * 40
SMALL = ["--model.layers", "1", "--model.width", "8", "--training.batch-size", "4", "--training.window", "10"]
SHORT = ["--training.steps", "6", "--training.threads", "1", "--training.device", "cpu"]
