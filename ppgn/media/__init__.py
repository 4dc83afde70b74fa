"""What a generator's signals are: how they are stored, shown and written."""
