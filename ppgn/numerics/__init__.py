"""Arithmetic that rounds a row alike in a batch of any size."""
