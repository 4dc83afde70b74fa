"""What keeps a code natural: p(h), as a residual R(h) − h."""
