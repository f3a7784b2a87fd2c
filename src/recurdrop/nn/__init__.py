"""The layers: they own torch's parameters and join methods, masks and ops."""

from recurdrop.nn.embedding import EmbeddingDropout as EmbeddingDropout
from recurdrop.nn.embedding import WordDropout as WordDropout
from recurdrop.nn.fast_dropout import FastDropoutGRU as FastDropoutGRU
from recurdrop.nn.fast_dropout import FastDropoutLinear as FastDropoutLinear
from recurdrop.nn.fast_dropout import FastDropoutLSTM as FastDropoutLSTM
from recurdrop.nn.fast_dropout import FastDropoutRNN as FastDropoutRNN
from recurdrop.nn.fast_dropout import Moments as Moments
from recurdrop.nn.sequence_dropout import Dropout as Dropout
from recurdrop.nn.sequence_dropout import LockedDropout as LockedDropout
from recurdrop.nn.sequence_dropout import SpatialDropout1D as SpatialDropout1D
