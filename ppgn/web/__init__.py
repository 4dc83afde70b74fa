"""The page of `ppgn serve`: `serve` starts it, the modules are its parts, `page/` is what a browser gets."""
