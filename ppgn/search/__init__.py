"""Codes that evolve by scores without a gradient: of a neuron, a model, a web service, a person."""
