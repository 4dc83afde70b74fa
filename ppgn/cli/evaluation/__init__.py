"""`ppgn evaluate`: what is asked (request, data), what is measured (one module each), and what is said (report)."""
