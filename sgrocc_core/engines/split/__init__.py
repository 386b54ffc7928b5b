"""The expert in pieces, for CPUs: its layers in a runtime, its geometry in compiled kernels."""
