"""Checks that anyone can run on a method or a backend of their own; needs pytest."""

from recurdrop.testing.backends import BackendConformance as BackendConformance
from recurdrop.testing.compare import agree as agree
from recurdrop.testing.compare import outcome as outcome
from recurdrop.testing.methods import MethodConformance as MethodConformance
