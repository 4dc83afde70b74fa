"""Other people's networks, in the forms they are published in, as parts of a PPGN."""
