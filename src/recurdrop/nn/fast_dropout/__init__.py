"""Fast dropout: layers that pass on a mean and a variance instead of sampling masks."""

from recurdrop.nn.fast_dropout.layers import FastDropoutGRU as FastDropoutGRU
from recurdrop.nn.fast_dropout.layers import FastDropoutLSTM as FastDropoutLSTM
from recurdrop.nn.fast_dropout.layers import FastDropoutRNN as FastDropoutRNN
from recurdrop.nn.fast_dropout.linear import FastDropoutLinear as FastDropoutLinear
from recurdrop.nn.fast_dropout.linear import linear as linear
from recurdrop.nn.fast_dropout.moments import Moments as Moments
from recurdrop.nn.fast_dropout.moments import add as add
from recurdrop.nn.fast_dropout.moments import interpolate as interpolate
from recurdrop.nn.fast_dropout.moments import product as product
from recurdrop.nn.fast_dropout.moments import relu as relu
from recurdrop.nn.fast_dropout.moments import sigmoid as sigmoid
from recurdrop.nn.fast_dropout.moments import tanh as tanh
