"""What a user can choose about a recurrent network, whatever it reads. Dataclasses only: options are read without torch."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from deeplstm.tasks.complaints import Complaints, default, shown

Activation = Literal["tanh", "relu", "gelu", "silu", "sigmoid", "softplus", "identity"]

GATES: dict[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "candidate"),
    "rnn": ("hidden",),
    "highway": (),
}
"""The gates of each cell, as `deep_gates` names them."""

_INSIDE_GATES = frozenset({"gate_layers", "gate_sharing", "deep_gates", "gate_activation", "gate_shortcut"})
_EVERY_CELL = frozenset({"norm", "zoneout", "recurrent_dropout", "weight_drop"})
CELL_OPTIONS: dict[str, frozenset[str]] = {
    "lstm": _EVERY_CELL | _INSIDE_GATES | {"peephole", "coupled", "proj_size", "cell_clip", "forget_bias", "zoneout_c"},
    "gru": _EVERY_CELL | _INSIDE_GATES | {"reset_after"},
    "rnn": _EVERY_CELL | _INSIDE_GATES | {"nonlinearity"},
    "highway": _EVERY_CELL | {"coupled", "micro_steps"},
}
"""Which fields of `Network` each cell understands; the others must keep their default."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The recurrent layers themselves."""

    cell: Literal["lstm", "gru", "rnn", "highway"] = "lstm"
    """The recurrent cell of every layer."""
    layers: int = 2
    """Number of recurrent layers."""
    width: int = 256
    """Hidden units of every layer."""
    widths: tuple[int, ...] = ()
    """Hidden units layer by layer, in place of layers and width."""

    @property
    def cell_widths(self) -> tuple[int, ...]:
        """Hidden units of each recurrent layer, first layer first."""
        return self.widths or (self.width,) * self.layers


@dataclass(frozen=True, kw_only=True)
class Network(Cells):
    """Recurrent layers with depth wherever it is wanted, between what a task's network reads and its output layer."""

    dropout: float = 0.0
    """Dropout on what the first layer reads, between layers and before the output, as Zaremba et al. 2014; never
    on the carried state."""
    variational: bool = False
    """Draw each dropout mask once per window and keep it over time, as Gal & Ghahramani 2016."""
    skip: Literal["none", "residual", "dense", "highway"] = "none"
    """Links across layers: each adds its input (residual), mixes it in by a learned gate (highway), or reads
    the outputs of all layers before it (dense). Residual and highway act on layers that keep their width."""
    before: tuple[int, ...] = ()
    """Sizes of hidden layers before the first cell."""
    after: tuple[int, ...] = ()
    """Sizes of hidden layers between the last cell and the output layer."""
    between: tuple[int, ...] = ()
    """Sizes of hidden layers after each cell but the last: the next cell reads their output, not the cell's."""
    mlp_activation: Activation = "tanh"
    """Activation after each hidden layer before, between and after the cells."""
    gate_layers: tuple[int, ...] = ()
    """Sizes of hidden layers inside the gates."""
    gate_sharing: Literal["shared", "separate"] = "shared"
    """Whether all gates read the same hidden layers or each has its own."""
    deep_gates: tuple[str, ...] = ()
    """Only these gates get the hidden layers, each its own (lstm: input, forget, cell, output; gru: reset,
    update, candidate)."""
    gate_activation: Activation = "tanh"
    """Activation of the hidden layers inside the gates."""
    gate_shortcut: bool = False
    """Gates with hidden layers read the input and state directly as well."""
    peephole: bool = False
    """The lstm's gates also see the cell state."""
    coupled: bool | None = None
    """Forget exactly as much as is taken in (lstm, highway). None: the cell's own habit, free in lstm,
    coupled in highway."""
    norm: bool = False
    """Layer norm inside the cell."""
    proj_size: int = 0
    """Project the lstm's output down to this width, which is then also what it carries. 0: no projection."""
    cell_clip: float | None = None
    """Clip the lstm's cell state to [-x, x]."""
    forget_bias: float | None = None
    """Start the lstm's forget gate with this bias, so that it begins by remembering."""
    zoneout: float = 0.0
    """Probability that a hidden unit keeps its value for a step (Krueger et al. 2017)."""
    zoneout_c: float | None = None
    """The same for the lstm's cell state. None: as zoneout."""
    recurrent_dropout: float = 0.0
    """Dropout on the state that the cell reads, one mask per window."""
    weight_drop: float = 0.0
    """Dropout on the recurrent weights themselves, one mask per window (Merity et al. 2018)."""
    micro_steps: int = 3
    """Layers of the highway cell within one time step."""
    reset_after: bool = True
    """The gru resets after the recurrent product, as torch does; false: before it, as first published."""
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """The rnn's activation."""
    init: float | None = None
    """Draw every weight and bias uniformly from [-x, x], but not layer norms, and not the biases of forget
    and highway gates that start at a value of their own. None: each part's own initialisation."""

    @property
    def read_width(self) -> int:
        """Numbers per time step that the output layer reads."""
        return self.after[-1] if self.after else self.proj_size or self.cell_widths[-1]

    def check(self, reads: int | None = None) -> list[str]:
        """Every complaint about these choices, one line each; empty if they make sense together.

        Args:
            reads: numbers per time step that the network reads; None where only the data will say.
        """
        complaints = Complaints("model", self)
        self._check_sizes(complaints)
        self._check_probabilities(complaints)
        self._check_cell(complaints)
        if not complaints.lines:  # the rest speaks of widths, which must make sense first
            self._check_together(complaints, reads)
        return complaints.lines

    def _check_sizes(self, complaints: Complaints) -> None:
        for name in ("layers", "width", "micro_steps"):
            complaints.unless(getattr(self, name) >= 1, name, "it counts from 1", "give 1 or more")
        for name in ("widths", "before", "after", "between", "gate_layers"):
            complaints.unless(
                all(size >= 1 for size in getattr(self, name)),
                name,
                "every size is at least 1",
                "give sizes of 1 or more",
            )
        complaints.unless(self.proj_size >= 0, "proj_size", "a size is not negative", "give 0 or more")
        for name in ("cell_clip", "init"):
            bound = getattr(self, name)
            complaints.unless(
                bound is None or 0 < bound < float("inf"),
                name,
                "[-x, x] needs a finite x above 0",
                "give for example 0.1",
            )
        complaints.unless(
            self.forget_bias is None or abs(self.forget_bias) < float("inf"),
            "forget_bias",
            "a bias is a finite number",
            "give for example 1.0",
        )

    def _check_probabilities(self, complaints: Complaints) -> None:
        for name in ("dropout", "zoneout", "zoneout_c", "recurrent_dropout", "weight_drop"):
            probability = getattr(self, name)
            complaints.unless(
                probability is None or 0 <= probability < 1,
                name,
                "a probability here is at least 0 and below 1",
                "give for example 0.1",
            )

    def _check_cell(self, complaints: Complaints) -> None:
        for name in sorted(frozenset().union(*CELL_OPTIONS.values())):
            having = [cell for cell, options in CELL_OPTIONS.items() if name in options]
            complaints.unless(
                self.cell in having or getattr(self, name) == default(self, name),
                name,
                f"cell={self.cell} has no such option",
                f"leave it out or choose cell={' or '.join(having)}",
            )
        gates = [gate for gate in GATES[self.cell] if not (self.coupled and gate == "input")]
        if "deep_gates" in CELL_OPTIONS[self.cell]:
            complaints.unless(
                set(self.deep_gates) <= set(gates) and len(set(self.deep_gates)) == len(self.deep_gates),
                "deep_gates",
                f"{'coupled ' if self.coupled else ''}cell={self.cell} has the gates {', '.join(gates)}",
                "name each at most once",
            )
        complaints.without("gate_layers", sorted(_INSIDE_GATES - {"gate_layers"}), "no gate has hidden layers")

    def _check_together(self, complaints: Complaints, reads: int | None) -> None:
        widths = self.cell_widths
        if self.widths:
            complaints.unless(
                self.layers in (default(self, "layers"), len(widths)),
                "layers",
                f"widths={shown(self.widths)} says {len(widths)}",
                "leave one of the two out",
            )
            complaints.unless(
                self.width == default(self, "width"),
                "width",
                f"widths={shown(self.widths)} is given in its place",
                "leave one of the two out",
            )
        complaints.unless(
            self.proj_size < min(widths),
            "proj_size",
            f"a projection is narrower than the layer, and the narrowest has {min(widths)}",
            f"give at most {min(widths) - 1}",
        )
        complaints.unless(
            not self.between or len(widths) > 1,
            "between",
            "it goes between layers, and there is one layer",
            "use after, or give more layers",
        )
        read_and_given = self._layer_widths(reads)
        complaints.unless(
            self.skip not in ("residual", "highway") or _may_keep_width(read_and_given),
            "skip",
            f"it acts on layers that keep their width, and none of {shown(read_and_given)} does",
            "make neighbouring widths equal or choose skip=dense",
        )
        if self.dropout == 0:
            complaints.unless(
                not self.variational, "variational", "dropout is 0", "give a dropout above 0 or leave it out"
            )
        if not (self.before or self.after or self.between):
            complaints.without(
                "before", ["mlp_activation"], "there are no hidden layers before, between or after the cells"
            )

    def _layer_widths(self, reads: int | None) -> tuple[int | None, ...]:
        """Width read by the first layer, None if not known, then given by each layer (a cell and the MLP after it)."""
        given = [self.proj_size or width for width in self.cell_widths]
        if self.between:
            given[:-1] = [self.between[-1]] * (len(given) - 1)
        return (self.before[-1] if self.before else reads, *given)


def _may_keep_width(widths: tuple[int | None, ...]) -> bool:
    return any(read in (given, None) for read, given in pairwise(widths))
