"""What published recurrent networks were optimized with: averaging, window lengths, decay, units of the loss."""

from recurdrop.optim.decay import ZarembaLR as ZarembaLR
from recurdrop.optim.decay import decoupled_decay_ as decoupled_decay_
from recurdrop.optim.ntasgd import NTASGD as NTASGD
from recurdrop.optim.settings import SGDSettings as SGDSettings
from recurdrop.optim.windows import VariableBPTT as VariableBPTT
from recurdrop.optim.windows import Window as Window
from recurdrop.optim.windows import rescaled_lr as rescaled_lr
