"""What `LSTM`, `GRU` and `RNN` add to torch's classes of the same names: lengths, resets and the choice of a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..cells._cell import Cell, is_autocast
from ..recurrence import dispatch
from ..recurrence.backends import cpu, torch_fused
from ..recurrence.call import Call, checked_lengths, resets_complaints
from ..recurrence.scan import run, scan_packed
from ..recurrence.state import map_state, tensors_of
from ..recurrence.tracing import is_tracing


class DropIn(nn.RNNBase):
    """The methods that make a subclass of torch's class run through `scan` where torch alone cannot.

    Torch's own forward serves every call it can: all layers and directions in one kernel. With resets, with empty sequences,
    or on a backend asked for, each layer and direction is one `scan` of the plain cell with this module's weights.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._make_cells()

    def _make_cells(self) -> None:
        """The same cell for every call and every layer of a size, so that its program is made once."""
        width = self.proj_size or self.hidden_size
        sizes = {self.input_size} | ({width * (1 + self.bidirectional)} if self.num_layers > 1 else set())
        self._cells = {size: self._cell(size) for size in sizes}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_cells"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._make_cells()

    def _cell(self, input_size: int) -> Cell:
        """The cell of one layer, without weights of its own (on the meta device)."""
        raise NotImplementedError

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        resets: Tensor | None = None,
    ) -> Any:
        """As torch's, with two more arguments.

        Args:
            input: (T, B, I), (B, T, I) with ``batch_first``, (T, I), or packed.
            hx: the initial state; zeros where None.
            lengths: (B,), steps of each row, in any order, zero allowed. The output is zero beyond them.
            resets: (T, B) bool ((B, T) with ``batch_first``): zero the state of these rows before that step.
        """
        plain = lengths is None and resets is None and not is_tracing()  # torch's kernels show nothing inside
        # while torch.compile looks on, torch's forward would become a node for every operator of every step
        if plain and not torch.compiler.is_compiling() and self._is_left_to_torch(input):
            dispatch.record(type(self).__name__, "torch")
            return super().forward(input, hx)
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, lengths, resets)
        return self._padded(input, hx, lengths, resets)

    def _is_left_to_torch(self, input: Any) -> bool:
        """Whether to leave a call to torch's forward: kernels are faster for most work that they can do."""
        if (forced := dispatch.forced()) != "auto":
            return forced == "torch"
        if _is_beyond_torch():
            return False
        rows = input.data if isinstance(input, PackedSequence) else input
        if not isinstance(rows, Tensor) or rows.dtype not in (torch.float32, torch.float64) or rows.dim() < 2:
            return True
        if self.mode == "LSTM" and torch_fused.cannot_autocast_lstm(rows):
            return False
        if isinstance(input, Tensor):
            T = input.shape[1 if self.batch_first and input.dim() == 3 else 0]
        else:
            T = len(input.batch_sizes)
        B = rows.numel() // max(1, rows.shape[-1]) / max(1, T)
        weights = sum(self._weight(n).numel() for n in self._flat_weights_names) / len(self._all_weights)
        has_more = torch.is_grad_enabled() or not isinstance(input, Tensor)
        if "cpu" not in dispatch.candidates():
            return True
        # for projections torch has a loop over the steps
        if cpu.why_torch(T, B, weights, has_more) and not self.proj_size:
            return True
        in_its_way = rows.device.type != "cpu" or is_autocast(rows)
        return in_its_way or torch._C._functorch.peek_interpreter_stack() is not None

    def _packed(self, input: PackedSequence, hx: Any, lengths: Any, resets: Any) -> Any:
        if lengths is not None:
            raise ValueError(
                f"{type(self).__name__} got a PackedSequence and lengths=; the former has lengths. Leave one out."
            )
        if resets is None and (found := self._as_packed(input, hx)) is not None:
            return found
        padded, lengths = pad_packed_sequence(input)  # (T, B, I), in the caller's order of rows
        self._check(padded, hx)
        resets = self._time_major(resets)
        if complaints := resets_complaints(resets, *padded.shape[:2]):
            raise ValueError(
                f"{type(self).__name__}, packed input of (T, B) = {(*padded.shape[:2],)}: {complaints[0]}."
            )
        y, state = self._layers(padded, hx, lengths, resets)
        rows = input.sorted_indices
        y, lengths = (y, lengths) if rows is None else (y[:, rows], lengths[rows.cpu()])
        return input._replace(data=pack_padded_sequence(y, lengths).data), state

    def _as_packed(self, input: PackedSequence, hx: Any) -> tuple[PackedSequence, Any] | None:
        """Packed rows as they lie, where kernels can take them and nothing is wrong with them; else None."""
        rows, sizes = input.data, input.batch_sizes
        fits = rows.dim() == 2 and rows.shape[1] == self.input_size and bool((sizes > 0).all())
        weight = self._weight(self._flat_weights_names[0])
        if not fits or any(t.dtype != weight.dtype or t.device != weight.device for t in (rows, *tensors_of(hx))):
            return None
        if hx is not None:
            self.check_forward_args(rows, hx, sizes)
            if input.sorted_indices is not None:
                hx = map_state(lambda s: s.index_select(1, input.sorted_indices), hx)
        found = self._layers(rows, hx, None, None, batch_sizes=sizes)
        if found is None:
            return None
        y, state = found
        if input.unsorted_indices is not None:
            state = map_state(lambda s: s.index_select(1, input.unsorted_indices), state)
        return input._replace(data=y), state

    def _padded(self, input: Tensor, hx: Any, lengths: Any, resets: Any) -> Any:
        name = type(self).__name__
        if input.dim() not in (2, 3):
            noun = " tensor" if name == "RNN" else ""
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D{noun} instead")
        unbatched = input.dim() == 2
        if hx is not None:
            self._check_hx_dims(hx, 2 if unbatched else 3)
        if unbatched:
            input = input.unsqueeze(1)
            hx = map_state(lambda s: s.unsqueeze(1), hx)
            resets = resets[:, None] if isinstance(resets, Tensor) and resets.dim() == 1 else resets
        elif self.batch_first:
            input = input.transpose(0, 1)
            resets = self._time_major(resets)
        T, B = input.shape[:2]
        self._check(input, hx)
        checked, complaints = checked_lengths(lengths, T, B, input.device)
        complaints += resets_complaints(resets, T, B)
        if complaints:
            raise ValueError(f"{name}, input of shape (T, B, I) = {tuple(input.shape)}: {'; '.join(complaints)}.")
        y, state = self._layers(input, hx, checked, resets)
        if unbatched:
            return y.squeeze(1), map_state(lambda s: s.squeeze(1), state)
        return (y.transpose(0, 1) if self.batch_first else y), state

    def _time_major(self, resets: Any) -> Any:
        turn = self.batch_first and isinstance(resets, Tensor) and resets.dim() == 2
        return resets.transpose(0, 1) if turn else resets

    # Torch's own errors, word for word, for what its forward checks; it leaves some mistakes to its kernels

    def _check_hx_dims(self, hx: Any, dims: int) -> None:
        kind = "For batched 3-D input" if dims == 3 else "For unbatched 2-D input"
        if self.mode == "LSTM":
            given = hx[0].dim(), hx[1].dim()
            if given != (dims, dims):
                raise RuntimeError(
                    f"{kind}, hx and cx should also be {dims}-D but got ({given[0]}-D, {given[1]}-D) tensors"
                )
        elif hx.dim() != dims:
            raise RuntimeError(f"{kind}, hx should also be {dims}-D but got {hx.dim()}-D tensor")

    def _check(self, x: Tensor, hx: Any) -> None:
        """Raise for an input x (T, B, I) and a state that do not fit."""
        as_given = x.transpose(0, 1) if self.batch_first else x
        self.check_input(as_given, None)
        if hx is not None:
            self.check_forward_args(as_given, hx, None)
        if self.mode == "LSTM" and hx is not None and len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        for what, others in (("parameter", [self._weight(self._flat_weights_names[0])]), ("hidden", tensors_of(hx))):
            if moved := [other.device for other in others if other.device != x.device]:
                raise RuntimeError(
                    f"Input and {what} tensors are not at the same device, found input tensor at {x.device} and {what} "
                    f"tensor at {moved[0]}"
                )
        dtypes = {s.dtype for s in tensors_of(hx)} - {x.dtype}
        if dtypes and not is_autocast(x):
            raise RuntimeError(
                "Input and hidden tensors are not the same dtype, found input tensor with "
                f"{x.dtype} and hidden tensor with {', '.join(map(str, dtypes))}"
            )
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

    def _layers(
        self, x: Tensor, hx: Any, lengths: Tensor | None, resets: Tensor | None, batch_sizes: Tensor | None = None
    ) -> Any:
        """Every layer and direction as one scan.

        Shapes: x (T, B, I), hx (L*D, B, ...) or None -> y (T, B, D*O), state (L*D, B, ...). With ``batch_sizes`` x is packed,
            (rows, I), hx in its order, and y too; None where kernels cannot take that.
        """
        directions = 2 if self.bidirectional else 1
        finals: list[Any] = []
        B = x.shape[1] if batch_sizes is None else int(batch_sizes[0])
        for layer in range(self.num_layers):
            outputs = []
            for d in range(directions):
                cell = self._cells[x.shape[-1]]
                if cell.training != self.training and not torch.compiler.is_compiling():
                    cell.train(self.training)
                params = dict(zip(_order(cell), self._all_weights_of(layer, d), strict=True))
                index = layer * directions + d
                state = map_state(lambda s, i=index: s[i], hx) if hx is not None else self._zeros(cell, x, B)
                if batch_sizes is None:
                    initial = None if resets is None else map_state(torch.zeros_like, state)
                    y, final, _ = run(Call(cell, params, x, state, initial, {}, lengths, resets, d == 1))
                else:
                    found = scan_packed(cell, params, x, batch_sizes, state, noise={}, reverse=d == 1)
                    if found is None:
                        return None
                    y, final = found
                outputs.append(y)
                finals.append(final)
            x = torch.cat(outputs, dim=-1) if directions == 2 else outputs[0]
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.dropout)
        return x, map_state(lambda *parts: torch.stack(parts) if len(parts) > 1 else parts[0][None], *finals)

    def _all_weights_of(self, layer: int, direction: int) -> list[Tensor]:
        """One layer's and direction's weights, in torch's order: ih, hh, then biases, then the projection."""
        names = self._all_weights[layer * (2 if self.bidirectional else 1) + direction]
        return [self._weight(name) for name in names]

    def _weight(self, name: str) -> Tensor:
        weight: Tensor = getattr(self, name)
        return weight

    @staticmethod
    def _zeros(cell: Cell, x: Tensor, B: int) -> Any:
        sizes = cell.state_size if isinstance(cell.state_size, tuple) else (cell.state_size,)
        zeros = tuple(x.new_zeros(B, size) for size in sizes)
        return zeros if isinstance(cell.state_size, tuple) else zeros[0]


def _order(cell: Cell) -> list[str]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [name for name in names if cell._parameters.get(name) is not None]


def _is_beyond_torch() -> bool:
    """Whether what surrounds a call needs more than torch's kernels have: they lack rules for vmap and forward derivatives."""
    if torch.compiler.is_compiling():  # a part of a drop-in, between graphs
        return False
    levels = torch._C._functorch.get_interpreter_stack() or ()
    return torch.autograd.forward_ad._current_level >= 0 or any(
        level.key() != torch._C._functorch.TransformType.Grad for level in levels
    )
