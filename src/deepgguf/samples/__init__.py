"""Small checkpoints with the structure of real ones and made-up weights, the same bytes on every machine."""

from deepgguf.samples.configs import KINDS, SIZES
from deepgguf.samples.make import SampleSummary, make_sample

__all__ = ["KINDS", "SIZES", "SampleSummary", "make_sample"]
