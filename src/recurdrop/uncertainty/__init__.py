"""Monte-Carlo dropout, and whether the uncertainty that it gives is right."""

from recurdrop.uncertainty.calibration import LEVELS as LEVELS
from recurdrop.uncertainty.calibration import Reliability as Reliability
from recurdrop.uncertainty.calibration import coverage as coverage
from recurdrop.uncertainty.calibration import expected_calibration_error as expected_calibration_error
from recurdrop.uncertainty.calibration import reliability as reliability
from recurdrop.uncertainty.calibration import tau as tau
from recurdrop.uncertainty.mode import mc_dropout as mc_dropout
from recurdrop.uncertainty.plots import plot_coverage as plot_coverage
from recurdrop.uncertainty.plots import plot_reliability as plot_reliability
from recurdrop.uncertainty.predict import mc_predict as mc_predict
from recurdrop.uncertainty.prediction import Prediction as Prediction
