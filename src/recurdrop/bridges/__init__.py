"""Weights from and for other libraries: each function is a renaming, a transpose and an order of gates.

None of them imports the other library. What comes in is what that library hands out (a list of arrays, a state dict);
what goes out loads strictly into `rd.LSTM`, `rd.GRU`, `rd.RNN` and torch's own layers.
"""

from recurdrop.bridges.allennlp import from_allennlp as from_allennlp
from recurdrop.bridges.allennlp import to_allennlp as to_allennlp
from recurdrop.bridges.haste import from_haste as from_haste
from recurdrop.bridges.haste import to_haste as to_haste
from recurdrop.bridges.keras import from_keras as from_keras
from recurdrop.bridges.keras import to_keras as to_keras
