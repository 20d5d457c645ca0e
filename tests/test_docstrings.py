"""Every public name says what it is, and its example runs."""

import doctest
import inspect

import pytest
import torch

import deeplstm

NAMES = sorted(deeplstm.__all__)
ERRORS = [
    name
    for name in NAMES
    if isinstance(getattr(deeplstm, name), type) and issubclass(getattr(deeplstm, name), Exception)
]


def examples_of(name):
    """The doctests in a public name's own docstring (not those of its methods)."""
    return doctest.DocTestFinder(recurse=False, exclude_empty=True).find(getattr(deeplstm, name), name)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring(name):
    text = inspect.getdoc(getattr(deeplstm, name))
    assert text
    first = text.splitlines()[0]
    assert first.endswith((".", "`.", ":"))
    assert getattr(deeplstm, name).__doc__, "a docstring of its own, not of what it inherits from"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ERRORS])
def test_the_example_of_a_public_name_runs(name):
    tests = examples_of(name)
    assert sum(len(test.examples) for test in tests) > 0, "an example is missing"
    for test in tests:
        torch.manual_seed(0)
        report = []
        result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
        assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("name", [n for n in NAMES if inspect.isclass(getattr(deeplstm, n)) and n not in ERRORS])
def test_a_module_documents_every_argument_of_its_constructor(name):
    """By name, in its own docstring; the drop-ins refer to torch's documentation instead."""
    kind = getattr(deeplstm, name)
    if issubclass(kind, torch.nn.RNNBase):
        assert f"torch.nn.{name}" in kind.__doc__
        return
    missing = [
        argument
        for argument in inspect.signature(kind).parameters
        if argument not in kind.__doc__ and argument not in ("device", "dtype")
    ]
    assert not missing
