"""Drop-in LSTM, GRU and RNN layers for PyTorch with every published way of regularizing a recurrence."""

from recurdrop.errors import BackendError as BackendError
from recurdrop.errors import UndefinedSiteError as UndefinedSiteError
from recurdrop.methods.awd import AWD as AWD
from recurdrop.methods.base import Method as Method
from recurdrop.methods.dropconnect import DropConnect as DropConnect
from recurdrop.methods.dropout import Dropout as Dropout
from recurdrop.methods.gaussian import Gaussian as Gaussian
from recurdrop.methods.hdetach import HDetach as HDetach
from recurdrop.methods.keras import Keras as Keras
from recurdrop.methods.locked import Locked as Locked
from recurdrop.methods.mixout import Mixout as Mixout
from recurdrop.methods.recurrent_dropout import RecurrentDropout as RecurrentDropout
from recurdrop.methods.rnndrop import RNNDrop as RNNDrop
from recurdrop.methods.state_reset import StateReset as StateReset
from recurdrop.methods.variational import Variational as Variational
from recurdrop.methods.weight_noise import WeightNoise as WeightNoise
from recurdrop.methods.weightdrop import WeightDrop as WeightDrop
from recurdrop.methods.zaremba import Zaremba as Zaremba
from recurdrop.methods.zoneout import Zoneout as Zoneout
from recurdrop.nn.base import Details as Details
from recurdrop.nn.convert import plain as plain
from recurdrop.nn.convert import regularize as regularize
from recurdrop.nn.describe import Description as Description
from recurdrop.nn.describe import describe as describe
from recurdrop.nn.gru import GRU as GRU
from recurdrop.nn.lstm import LSTM as LSTM
from recurdrop.nn.rnn import RNN as RNN
from recurdrop.sites import Masks as Masks

__version__ = "0.1.0"
