"""How good samples are: of their class (accuracy), like photographs (fidelity), different from each other (diversity).

A figure is a function of row weights, how often each picture counts; `ppgn.metrics.bootstrap` makes its interval.
"""
