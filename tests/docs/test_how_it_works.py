"""What docs/how-it-works.md shows as printed is what its code prints."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "how-it-works.md").read_text("utf-8")


def test_what_is_shown_as_printed_is_printed(capsys):
    """Up to the network that is trained: its numbers are held by the tests of the figures, which train it too."""
    text, found, _ = PAGE.partition("## What a trained model shows")
    assert found
    names, shown = {"__name__": "__main__"}, 0
    for code, printed in re.findall(
        r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE
    ):
        exec(compile(code, "docs/how-it-works.md", "exec"), names)
        assert capsys.readouterr().out.strip() == printed.strip()
        shown += bool(printed)
    assert shown == 3


def test_the_gradient_by_hand_would_not_pass_with_a_wrong_line():
    """The check against autograd in the page is one that can fail."""
    text = PAGE.partition("## Back through time, by hand")[2].partition("\n## ")[0]
    forward, backward = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    mistakes = {
        "dc * f ": "dc * i ",
        "R.T @ dsums": "dh",
        "dW += torch": "dW = torch",
        "1 - c.tanh() ** 2": "1 - c.tanh()",
    }
    for right, wrong in mistakes.items():
        assert right in backward
        names = {}
        exec(f"import torch\n{forward}", names)
        with pytest.raises(AssertionError, match="not close"):
            exec(backward.replace(right, wrong), names)
