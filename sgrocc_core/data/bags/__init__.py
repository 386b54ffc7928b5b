"""Bags: reading frames from them, and writing them."""

from sgrocc_core.data.bags.options import BagOptions
from sgrocc_core.data.bags.reader import BagReader
from sgrocc_core.data.bags.writer import BagWriter

__all__ = ["BagOptions", "BagReader", "BagWriter"]
