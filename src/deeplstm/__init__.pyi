from . import testing as testing
from .cells.gru import GRUCell as GRUCell
from .cells.highway import HighwayCell as HighwayCell
from .cells.lstm import LSTMCell as LSTMCell
from .cells.mark import mark as mark
from .cells.rnn import RNNCell as RNNCell
from .errors import BackendUnavailable as BackendUnavailable
from .errors import InputError as InputError
from .inspect.gates import gates as gates
from .inspect.memory import memory as memory
from .inspect.report.numbers import report as report
from .inspect.trace import trace as trace
from .nn.explain import explain as explain
from .nn.gru import GRU as GRU
from .nn.lstm import LSTM as LSTM
from .nn.mlp import MLP as MLP
from .nn.readout import Readout as Readout
from .nn.recurrent import Recurrent as Recurrent
from .nn.regularize import VariationalDropout as VariationalDropout
from .nn.rnn import RNN as RNN
from .nn.stack import Stack as Stack
from .recurrence.dispatch import backend as backend
from .recurrence.program.show import program as program
from .recurrence.scan import scan as scan
from .recurrence.state import detach as detach
from .stream.stream import Stream as Stream

__version__: str
