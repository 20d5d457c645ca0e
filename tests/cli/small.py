"""What a run of no size and no length is made of."""

import math

TEXT = "to be, or not to be: that is the question.\n" * 40
TABLE = "hour,sun,rain\n" + "".join(
    f"{n % 24}:00,{100 + 20 * math.sin(n / 4):.4f},{math.cos(n / 3):.4f}\n" for n in range(400)
)
SMALL = ["--model.layers", "1", "--model.width", "8", "--training.batch-size", "4", "--training.window", "10"]
SHORT = ["--training.steps", "6", "--training.threads", "1", "--training.device", "cpu"]
