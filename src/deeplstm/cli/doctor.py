"""`deeplstm doctor`: what this machine has, and what runs on it."""

import platform
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def doctor() -> int:
    """Say what this machine has: versions, processor, backends with reasons where one cannot run, kernels kept, peak speed."""
    console = Console()
    sections = {
        "versions": _versions,
        "processor": _processor,
        "backends, first to last": _backends,
        "kernel cache": _kernel_cache,
        "peak, multiplications with additions in float32": _peak,
    }
    for number, (title, rows) in enumerate(sections.items()):
        if number:
            console.print()
        table = Table.grid(padding=(0, 2))
        for name, value in rows():
            table.add_row(escape(name), escape(value))
        console.print(escape(title))
        console.print(table)
    return 0


def _versions() -> Iterator[tuple[str, str]]:
    import torch

    import deeplstm

    yield "deeplstm", deeplstm.__version__
    yield "Python", platform.python_version()
    yield "torch", torch.__version__
    try:
        import llvmlite
        from llvmlite.binding import llvm_version_info
    except (ImportError, OSError) as error:
        yield "llvmlite", f"missing: {error}"
    else:
        yield "llvmlite", f"{llvmlite.__version__}, LLVM {'.'.join(map(str, llvm_version_info))}"
    yield "system", platform.platform()


def _processor() -> Iterator[tuple[str, str]]:
    import torch

    try:
        from deeplstm.recurrence.backends.cpu.llvm.host import host

        processor = host()
    except (ImportError, OSError, ValueError) as error:
        yield "name", f"{platform.machine()}; not known in full: {error}"
    else:
        yield "name", processor.name
        yield "vectors", f"{processor.vector_bytes * 8} bits, {processor.registers} registers"
    yield "threads", f"{torch.get_num_threads()} (torch's)"


def _backends() -> Iterator[tuple[str, str]]:
    from deeplstm.recurrence.dispatch import BACKENDS, candidates

    try:
        taken = candidates()
    except ValueError as error:
        yield "auto", f"stops: {error}"
        taken = list(BACKENDS)
    for name in [*taken, *(name for name in BACKENDS if name not in taken)]:
        left_out = "" if name in taken else " where it is asked for: DEEPLSTM_BACKENDS leaves it out"
        reason = _why_not(name)
        yield name, f"does not run here: {reason}" if reason else f"runs here{left_out}"


def _why_not(name: str) -> str:
    """Why a backend cannot run a small LSTM on the processor, or nothing. It is tried out: a broken library shows."""
    import torch

    from deeplstm import BackendUnavailable, LSTMCell, scan

    cell, state = LSTMCell(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2))
    try:
        with torch.no_grad():
            scan(cell, None, torch.zeros(2, 1, 2), state, noise={}, backend=name)
    except BackendUnavailable as error:
        return str(error)
    except Exception as error:  # whatever it is, this command is there to tell
        return f"{type(error).__name__}: {error}"
    return ""


def _kernel_cache() -> Iterator[tuple[str, str]]:
    from deeplstm.recurrence.backends.cpu.llvm import cache

    folder = cache.folder()
    if folder is None:
        yield "folder", "none, kernels are compiled anew in every process"
        return
    usage = cache.usage()
    yield "folder", str(folder)
    yield "kernels", f"{usage.kernels:,}"
    yield "size", _megabytes(usage.size_bytes)
    try:
        yield "limit", _megabytes(cache.limit_bytes())
    except ValueError as error:
        yield "limit", str(error)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.2f} MB"


def _peak() -> Iterator[tuple[str, str]]:
    import torch

    try:
        from deeplstm.recurrence.backends.cpu.peak import fma_peak

        for threads in sorted({1, torch.get_num_threads()}):
            yield f"{threads} thread{'s' * (threads > 1)}", f"{fma_peak(threads):,.0f} GFLOP/s"
    except (ImportError, OSError, ValueError) as error:
        yield "not measured", str(error)
