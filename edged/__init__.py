"""edged: a model server for small Linux boxes. No imports here: every start-up would pay for them."""

__version__ = "0.1.0"
