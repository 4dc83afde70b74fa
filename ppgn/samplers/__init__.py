"""Kernels that step through codes, the driver that walks them, and the noise they walk with."""
