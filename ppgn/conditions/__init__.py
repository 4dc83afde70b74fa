"""What to draw: per-sample log p(y | x), and combinations of them."""
