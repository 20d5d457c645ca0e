"""A page of the documentation whose tables are written by the run, and whose text is not."""

from pathlib import Path

from deeplstm.training.files import write_atomic

BEGIN, END = "<!-- measured: python -m benchmarks --write -->", "<!-- end of measured -->"


def write_between(page: Path, text: str) -> None:
    """Put a text between a page's two markers, in place of what is there. Raises: ValueError for a page without them."""
    before, found, rest = page.read_text().partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"{page} has no place for the tables: the two lines {BEGIN!r} and {END!r} are expected in it.")
    write_atomic(page, f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}".encode())
