"""Rerun's viewer: what a bag becomes while it is mapped, and what a saved map holds, as a recording (.rrd) or in the viewer's window.

Needs the package rerun-sdk, which nothing else needs; only `sgrocc view` imports from here.
"""
