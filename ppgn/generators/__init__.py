"""Generators: h -> x."""
