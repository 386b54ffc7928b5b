"""Logging to Rerun: a bag while it is mapped, or a saved map, into a recording (.rrd) or the viewer's window.

This package alone needs rerun-sdk; only `sgrocc view` imports it.
"""
