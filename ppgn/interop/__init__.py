"""Other people's weights: read as they were published, checked blob by blob, put into this package's networks."""
