"""Small models, one file each."""

from recurdrop.models.awd_lstm import AWDLSTM as AWDLSTM
from recurdrop.models.awd_weights import load_awd_weights as load_awd_weights
from recurdrop.models.awd_weights import read_awd_weights as read_awd_weights
from recurdrop.models.build import build as build
from recurdrop.models.mixture_of_softmaxes import MixtureOfSoftmaxes as MixtureOfSoftmaxes
from recurdrop.models.neural_cache import Memory as Memory
from recurdrop.models.neural_cache import NeuralCache as NeuralCache
from recurdrop.models.published import PUBLISHED as PUBLISHED
from recurdrop.models.settings import ModelSettings as ModelSettings
from recurdrop.models.settings import Published as Published
from recurdrop.models.settings import TrainingSettings as TrainingSettings
from recurdrop.models.stack import LanguageStack as LanguageStack
from recurdrop.models.stack import Outputs as Outputs
