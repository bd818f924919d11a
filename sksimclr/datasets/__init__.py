"""Images of the aurora: the OATH data set, and a synthetic stand-in."""

from sksimclr.datasets._aurora import make_aurora
from sksimclr.datasets._oath import fetch_oath, load_oath

__all__ = ["fetch_oath", "load_oath", "make_aurora"]
